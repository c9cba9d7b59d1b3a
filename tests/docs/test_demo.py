"""The answer of the guide to TF Serving is that of the demo's release."""

import json
import re

import numpy as np
import pytest

from tests.docs.markdown import DOCS, ROOT
from tfrecall._keras import tf

RELEASE = ROOT / "saved_models" / "two_tower_ml100k"


@pytest.mark.slow
def test_the_guide_prints_what_the_demo_answers():
    models = sorted(RELEASE.glob("retrieval/*/saved_model.pb"))
    if not models:
        pytest.skip("There is no release of the demo: run `make demo`.")
    metrics = json.loads((RELEASE / "metrics.json").read_text("utf-8"))
    hit_rate = metrics["test"]["seen_removed"]["hit_rate@100"]
    quickstart = (DOCS / "quickstart.md").read_text("utf-8")
    if f"*{hit_rate:.3f}".replace("0.", ".") not in quickstart:
        pytest.skip("This machine trains the demo to other weights than those of the quickstart.")
    page = (DOCS / "guides" / "releases.md").read_text("utf-8")
    question = json.loads(re.search(r"-d '(\{.*?\})'\n", page, re.DOTALL)[1])
    answer = json.loads(re.search(r"^\{\"outputs\": (\{.*\})\}$", page, re.MULTILINE)[1])
    served = tf.saved_model.load(str(max(models, key=lambda p: int(p.parent.name)).parent))
    signature = served.signatures[question["signature_name"]]
    specs = signature.structured_input_signature[1]
    # JSON has no dtypes: TF Serving converts, as here.
    inputs = {name: tf.constant(v, specs[name].dtype) for name, v in question["inputs"].items()}
    found = signature(**inputs)
    ids = [[item.decode() for item in row] for row in found["candidate_ids"].numpy()]
    assert ids == answer["candidate_ids"]
    np.testing.assert_allclose(found["scores"], answer["scores"], rtol=1e-4)
