"""Pictures: what is drawn is what was given, and text can be read on white and on black."""

import io
import subprocess
import sys

import numpy as np
import pytest

from tfrecall.errors import DataError
from tfrecall.report.plots import TEXT, accuracy_curves, model_bars, slice_bars

pytest.importorskip("matplotlib")

EPOCHS = [5, 10, 15]
HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "val_factorized_top_k/top_1_categorical_accuracy": [0.0, 0.1, 0.2],
    "val_factorized_top_k/top_5_categorical_accuracy": [0.3, 0.4, 0.5],
}


def test_each_k_has_a_panel_and_each_model_a_line():
    figure = accuracy_curves({"[32]": HISTORY, "[64, 32]": HISTORY}, EPOCHS, ks=(1, 5))
    first, second = figure.axes[:2]
    assert [first.get_title(), second.get_title()] == ["top-1 accuracy", "top-5 accuracy"]
    assert [line.get_label() for line in second.lines] == ["[32]", "[64, 32]"]
    np.testing.assert_allclose(second.lines[0].get_xydata(), [[5, 0.3], [10, 0.4], [15, 0.5]])


def test_reference_is_a_level_line_at_its_hit_rate():
    figure = accuracy_curves({"a": HISTORY}, EPOCHS, ks=(1,), reference={"hit_rate@1": 0.15})
    line = figure.axes[0].lines[-1]
    assert line.get_label() == "popularity"
    assert set(line.get_ydata()) == {0.15}


@pytest.mark.parametrize("ks", [(1,), (1, 5)])
def test_legend_names_every_line_once(ks):
    figure = accuracy_curves({"a": HISTORY, "b": HISTORY}, EPOCHS, ks=ks)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_no_model_is_left_out_when_colours_run_out():
    figure = accuracy_curves({str(i): HISTORY for i in range(6)}, EPOCHS, ks=(1,))
    assert len(figure.axes[0].lines) == 6


def test_history_of_other_epochs_is_refused():
    with pytest.raises(DataError, match=r'"a" has 3 values of .*top_1_.* for 2 validated epochs'):
        accuracy_curves({"a": HISTORY}, [5, 10], ks=(1,))


def test_history_without_validation_is_refused():
    with pytest.raises(DataError, match="has 0 values"):
        accuracy_curves({"a": {"loss": [1.0]}}, [1])


def test_bars_are_as_long_as_the_figures_first_model_on_top():
    figure = model_bars({"popularity": (0.3, 0.4), "two_tower": (0.5, 0.7)}, baselines=["popularity"])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.4, 0.5, 0.7]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["popularity", "two_tower"]
    assert axes.yaxis_inverted()


def test_baselines_are_grey_and_models_are_not():
    figure = model_bars({"popularity": (0.3, 0.4), "two_tower": (0.5, 0.7)}, baselines=["popularity"])
    is_grey = [len(set(bar.get_facecolor()[:3])) == 1 for bar in figure.axes[0].patches]
    assert is_grey == [True, True, False, False]


def test_each_slice_has_a_panel_and_each_model_a_bar():
    figure = slice_bars({"a": {"head": 0.5, "tail": 0.1}, "b": {"head": 0.6, "tail": 0.0}})
    assert [axes.get_title() for axes in figure.axes] == ["head", "tail"]
    assert [[bar.get_width() for bar in axes.patches] for axes in figure.axes] == [[0.5, 0.6], [0.1, 0]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert all(axes.yaxis_inverted() for axes in figure.axes)


@pytest.mark.parametrize(
    "draw", [lambda: accuracy_curves({}, []), lambda: model_bars({}), lambda: slice_bars({})]
)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(DataError, match="empty mapping"):
        draw()


def test_background_is_transparent():
    from matplotlib.image import imread

    file = io.BytesIO()
    model_bars({"two_tower": (0.5, 0.7)}).savefig(file, format="png")
    file.seek(0)
    corner = imread(file)[0, 0]
    assert corner[3] == 0


def test_text_is_readable_on_white_and_on_black():
    # Relative luminance of grey c: ((c/255 + .055) / 1.055)^2.4; contrast (L1 + .05) / (L2 + .05).
    luminance = ((int(TEXT[1:3], 16) / 255 + 0.055) / 1.055) ** 2.4
    assert 1.05 / (luminance + 0.05) >= 4.5
    assert (luminance + 0.05) / 0.05 >= 4.5


@pytest.mark.slow
def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, tfrecall.report.plots; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
