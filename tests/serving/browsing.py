"""A headless Chromium of the system for tests of the page, and the releases that it shows."""

import json
import shutil
from pathlib import Path

import polars as pl

import tfrecall as tr

SHOP = Path(__file__).parents[2] / "examples" / "shop"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Of a run that did not take place: ItemCF leads at 10, popularity at 100.
FIGURES = {
    "model": "item_cf",
    "leading": "seen_removed",
    "test": {
        "seen_removed": {"hit_rate@10": 0.30, "hit_rate@100": 0.5, "mrr": 0.15},
        "seen_kept": {"hit_rate@10": 0.20, "hit_rate@100": 0.6, "mrr": 0.10},
    },
    "baselines": {
        "popularity": {
            "seen_removed": {"hit_rate@10": 0.12, "hit_rate@100": 0.7, "mrr": 0.05},
            "seen_kept": {"hit_rate@10": 0.25, "hit_rate@100": 0.4, "mrr": 0.05},
        }
    },
    "intervals": {"item_cf": {"seen_removed": {"hit_rate@10": [0.28, 0.32]}}},
    "data": {"name": "shop", "test_rows": 2182},
}


def write_shop(folder: Path) -> dict[str, Path]:
    """Releases of two baselines of the shop, which need no TensorFlow: name -> root."""
    log = tr.data.from_frame(
        pl.read_csv(SHOP / "purchases.csv"),
        items=pl.read_csv(SHOP / "products.csv"),
        user_id="customer_id",
        item_id="sku",
        timestamp="bought_at",
    )
    models = {"item_cf": tr.ItemCF(), "popularity": tr.Popularity()}
    roots = {name: tr.export(model.fit(log), folder / name).root for name, model in models.items()}
    # As of a release before documents were listed: they say of which version they are.
    (roots["item_cf"] / "metrics.json").write_text(json.dumps({"version": 1, **FIGURES}))
    return roots
