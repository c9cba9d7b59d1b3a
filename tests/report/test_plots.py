"""Pictures: the drawing equals the figures given, and its text can be read on light and dark pages."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.helpers import Page
from tfrecall.errors import ConfigError, DataError
from tfrecall.report.bars import Row, histogram_panel, row_panel
from tfrecall.report.colours import DARK, LIGHT, chart_rules
from tfrecall.report.pictures import Picture, save
from tfrecall.report.plots import Series, accuracy_curves, curves, model_bars, slice_bars
from tfrecall.report.svg import COLORS

EPOCHS = [5, 10, 15]
HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "val_hit_rate@1": [0.0, 0.1, 0.2],
    "val_hit_rate@5": [0.3, 0.4, 0.5],
}
EVIL = '</svg><script>alert(1)</script>" onload="x'
SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture):
    return ET.fromstring(picture.svg())


def panels_of(picture):
    """Nested drawings, one a panel."""
    return parsed(picture).findall(f"{SVG}svg")


def texts(element):
    return [text.text for text in element.iter(f"{SVG}text")]


def titles(picture):
    """Titles of the panels; the title of the picture and the legend lie elsewhere."""
    return [
        group[0].text for group in parsed(picture).findall(f"{SVG}g") if group.get("class") == "name"
    ]


def legend(picture):
    return [text.text for text in parsed(picture).findall(f"{SVG}text")]


def blocks(panel):
    return [rect for rect in panel.iter(f"{SVG}rect") if "block" in rect.get("class", "")]


def widths(panel):
    return np.array([float(rect.get("width")) for rect in blocks(panel)])


def test_each_k_has_a_panel_and_each_model_a_line():
    picture = accuracy_curves({"[32]": HISTORY, "[64, 32]": HISTORY}, EPOCHS, ks=(1, 5))
    assert titles(picture) == ["hit_rate@1", "hit_rate@5"]
    assert legend(picture) == ["[32]", "[64, 32]"]
    # Epochs 5, 10, 15 lie at 46, 194, 342; 0 to 0.6 from 194 up to 12, so 0.3 is at 103 and 0.1 at 30.33.
    lines = panels_of(picture)[1].findall(f"{SVG}path")
    assert [line.get("d") for line in lines] == ["M46 103L194 72.7L342 42.3"] * 2


def test_reference_is_a_level_dashed_line_at_its_hit_rate():
    picture = accuracy_curves({"a": HISTORY}, EPOCHS, ks=(1,), reference={"hit_rate@1": 0.15})
    line = panels_of(picture)[0].findall(f"{SVG}path")[-1]
    assert "dashed" in line.get("class")
    # 0.15 of 0 to 0.2: 194 - 0.75 * 182.
    assert line.get("d") == "M46 57.5L342 57.5"
    assert legend(picture) == ["a", "popularity"]


def test_no_model_is_left_out_when_colours_run_out():
    picture = accuracy_curves({str(i): HISTORY for i in range(9)}, EPOCHS, ks=(1,))
    assert len(panels_of(picture)[0].findall(f"{SVG}path")) == 9
    assert legend(picture) == [str(i) for i in range(9)]


def test_a_long_legend_takes_more_lines_and_stays_inside():
    names = [f"a model with the long name {i}" for i in range(9)]
    picture = accuracy_curves(dict.fromkeys(names, HISTORY), EPOCHS, ks=(1,))
    root = parsed(picture)
    places = [(float(t.get("x")), float(t.get("y"))) for t in root.findall(f"{SVG}text")]
    assert len(places) == len(set(places)) == 9
    assert max(x for x, _ in places) < float(root.get("width"))
    assert max(y for _, y in places) < float(root.get("height"))


def test_history_of_other_epochs_is_refused():
    with pytest.raises(DataError, match=r'"a" has 3 values of val_hit_rate@1 for 2 validated epochs'):
        accuracy_curves({"a": HISTORY}, [5, 10], ks=(1,))


def test_history_without_validation_is_refused():
    with pytest.raises(DataError, match="has 0 values"):
        accuracy_curves({"a": {"loss": [1.0]}}, [1])


def test_bars_are_as_long_as_the_figures_first_model_on_top():
    (panel,) = panels_of(
        model_bars({"popularity": (0.3, 0.4), "two_tower": (0.5, 0.7)}, baselines=["popularity"])
    )
    np.testing.assert_allclose(widths(panel) / widths(panel)[3], np.array([3, 4, 5, 7]) / 7, atol=1e-3)
    tops = [float(rect.get("y")) for rect in blocks(panel)]
    assert tops == sorted(tops)
    assert [t for t in texts(panel) if t.startswith("0.")] == ["0.300", "0.400", "0.500", "0.700"]


def test_baselines_are_grey_models_are_not_and_seen_items_kept_are_fainter():
    (panel,) = panels_of(
        model_bars({"popularity": (0.3, 0.4), "two_tower": (0.5, 0.7)}, baselines=["popularity"])
    )
    assert [rect.get("class") for rect in blocks(panel)] == [
        "block s7 faint",
        "block s7",
        "block s0 faint",
        "block s0",
    ]
    for colours in (LIGHT, DARK):
        red, green, blue = (int(colours["c7"][i : i + 2], 16) for i in (1, 3, 5))
        assert max(red, green, blue) - min(red, green, blue) < 24  # grey


def test_each_slice_has_a_panel_of_its_own_scale_and_each_model_a_bar():
    picture = slice_bars({"a": {"head": 0.5, "tail": 0.1}, "b": {"head": 0.6, "tail": 0.0}})
    assert titles(picture) == ["head", "tail"]
    head, tail = (widths(panel) for panel in panels_of(picture))
    np.testing.assert_allclose(head / head.max(), [5 / 6, 1], atol=1e-3)
    np.testing.assert_allclose(tail / tail.max(), [1, 0], atol=1e-3)
    assert head.max() == tail.max()


def test_bars_of_zero_are_drawn():
    assert widths(panels_of(slice_bars({"a": {"head": 0.0}}))[0]) == [0]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: accuracy_curves({}, []),
        lambda: model_bars({}),
        lambda: slice_bars({}),
        lambda: curves({}, x_label="x"),
    ],
)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(DataError, match="empty mapping"):
        draw()


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=50),
    st.lists(st.floats(0, 100), min_size=2, max_size=10, unique=True),
)
def test_bars_of_a_histogram_are_as_high_as_their_counts(values, edges):
    edges = np.sort(edges)
    panel = histogram_panel("a", np.array(values), edges, x_label="x")
    drawn = re.findall(
        r"height=\"([\d.]+)\" class=\"block s0\"><title>[^<]*: (\d+)<", "".join(panel.content)
    )
    counts = [
        sum(low <= v < high or (v == high == edges[-1]) for v in values)
        for low, high in itertools.pairwise(edges)
    ]
    assert [int(count) for _, count in drawn] == counts
    heights = np.array([float(height) for height, _ in drawn])
    if max(counts):
        np.testing.assert_allclose(
            heights * max(counts), heights.max() * np.array(counts), atol=0.11 * max(counts)
        )


def test_dates_are_written_below_the_lines():
    # From 1 July 2000 to 1 July 2008: eight years, so every second first of January from 2001.
    picture = curves(
        {"a": [Series("s", [(962409600, 1), (1214870400, 2)])]}, x_label="time", dates=True
    )
    assert [t for t in texts(panels_of(picture)[0]) if t.endswith("-01-01")] == [
        "2001-01-01",
        "2003-01-01",
        "2005-01-01",
        "2007-01-01",
    ]


def test_a_log_axis_has_powers_of_ten():
    line = [Series("s", [(1, 0), (2000, 1)])]
    picture = curves({"a": line}, x_label="rank", log_x=True)
    places = {t.text: float(t.get("x")) for t in panels_of(picture)[0].iter(f"{SVG}text")}
    assert places["10"] - places["1"] == pytest.approx(places["1k"] - places["100"], abs=0.2)


def test_a_cut_name_is_whole_in_the_tooltip():
    # 0.42 of 300 units hold 19 letters of 6.5 units.
    panel = row_panel("a", [Row("x" * 40, [1.0], ["s0"])], width=300)
    assert f"{'x' * 18}…<title>{'x' * 40}</title>" in "".join(panel.content)


# One SVG, alone


def test_texts_are_never_markup():
    picture = Picture(EVIL, slice_bars({EVIL: {EVIL: 1.0}}).panels)
    root = parsed(picture)
    assert not list(root.iter(f"{SVG}script"))
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    assert root.get("aria-label") == EVIL


def test_a_picture_loads_nothing_and_colours_only_itself():
    picture = model_bars({"a": (0.1, 0.2)})
    assert picture._repr_svg_() == picture.svg()
    assert repr(picture) == "Picture(title='', columns=1)"
    assert not re.search(r"url\(|@import|href|src=", picture.svg())
    assert "var(" not in chart_rules()  # known to browsers only
    selectors = re.findall(r"^([^@\n{}]+) \{", chart_rules(), re.MULTILINE)
    assert selectors
    assert all(part.strip().startswith(".chart ") for one in selectors for part in one.split(","))


def luminance(colour):
    """Relative luminance of WCAG 2."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_text_and_lines_stand_out_from_their_page(colours):
    for name, ratio in {"text": 4.5, "soft": 4.5, **{f"c{i}": 3 for i in range(COLORS)}}.items():
        for page in ("page", "box") if ratio == 4.5 else ("page",):
            low, high = sorted(luminance(colours[one]) for one in (name, page))
            assert (high + 0.05) / (low + 0.05) >= ratio, (name, page)


def test_the_page_of_a_picture_is_its_background():
    root = parsed(model_bars({"a": (0.1, 0.2)}))
    page = root[1]
    assert (page.tag, page.get("class"), page.get("width")) == (f"{SVG}rect", "page", "100%")
    light, dark = chart_rules().split("@media (prefers-color-scheme: dark)")
    assert f".page {{ fill: {LIGHT['page']}; }}" in light
    assert f".page {{ fill: {DARK['page']}; }}" in dark


# Files


def test_a_picture_is_saved_as_svg_or_as_a_page(tmp_path):
    picture = model_bars({"a": (0.1, 0.2)}, title="Two & two")
    save(picture, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text("utf-8") == picture.svg()
    save(picture, tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text("utf-8"))
    assert page.text.count("Two & two") == 2  # the title of the window, and the heading
    assert len(page.all("rect")) == 3


@pytest.mark.parametrize("name", ["a.png", "a.pdf", "a", ".png"])
def test_other_formats_are_refused_with_a_name_to_use(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.svg or \.html.*Name it \S+\.svg"):
        save(model_bars({"a": (0.1, 0.2)}), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        save(model_bars({"a": (0.1, 0.2)}), tmp_path / "file" / "a.svg")
