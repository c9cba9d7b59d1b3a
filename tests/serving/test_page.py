"""The page in a real headless Chromium, against the real service on releases of the example shop."""

import json
import re
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving.browsing import ARGUMENTS, CHROMIUM, FIGURES, write_shop
from tests.serving.running import PATIENCE_SECONDS, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]
# The points of the map are there, and answer to keys and pointers.
DRAWN = "async () => Boolean((await import('/page/map.js')).drawn()?.plane)"
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
# Items of a history before a button for the rest.
SHORT = 12
VIEWS = ["recommend", "compare", "map", "evaluation"]
# A user with 3 events, and one whose favourites other users share.
USER = "C0042"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    roots = write_shop(folder)
    named = [f"{name}={root}" for name, root in roots.items()]
    with running(*named, "--events", folder / "events") as service:
        yield service


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE_SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, service):
    """Opens the page at an address; at the end of a test nothing may have been loaded from elsewhere."""
    contexts, requests, errors = [], [], []

    def opened(address="", routes=(), obeys_policy=True, **options):
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        if obeys_policy:
            page.on("console", lambda message: _note_violation(message.text, errors))
        for pattern, handler in routes:
            page.route(pattern, handler)
        page.goto(f"{service.url}/{address}")
        page.wait_for_selector("#loading", state="hidden")
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert not errors
    assert {urlsplit(url).netloc for url in requests} <= {urlsplit(service.url).netloc}


def _note_violation(text, errors):
    if "Content Security Policy" in text:
        errors.append(text)


def shown(page, place="#answer"):
    """Ids of the items of a list, once it is there."""
    page.wait_for_selector(f"{place} .row")
    return page.eval_on_selector_all(f"{place} .row", "rows => rows.map(row => row.dataset.item)")


@contextmanager
def answered(page, part):
    """Waits until a request with a part in its body is answered and shown."""

    def fits(response):
        body = response.request.post_data or ""
        return response.url.endswith("/v1/recommend") and part in body

    with page.expect_response(fits):
        yield
    page.wait_for_selector("#answer:not([aria-busy])")


def asked(service, **body):
    return [item["item_id"] for item in service.post("/v1/recommend", body).body["items"]]


def field(page, name):
    return page.get_by_role("combobox", name=name, exact=True)


def told(locator):
    """What waits until an element is as it is expected to be."""
    from playwright.sync_api import expect

    return expect(locator)


def suggested(page, name, text):
    """Types into a field, and waits for the suggestions of the whole text: earlier ones may be on their way."""

    def fits(response):
        return parse_qs(urlsplit(response.url).query).get("query") == [text]

    with page.expect_response(fits):
        field(page, name).press_sequentially(text)
    option = page.locator("[role=option]", has_text=re.compile(re.escape(text), re.IGNORECASE)).first
    option.wait_for()
    return option


def test_a_user_is_found_and_gets_the_list_of_the_api(open_page, service):
    page = open_page()
    suggested(page, "User", "c004")
    page.locator("[role=option]", has_text=USER).click()
    assert shown(page) == asked(service, user_id=USER, release="item_cf")
    told(page.locator("#history .when").first).to_contain_text("3 Jan 2024")
    told(page.locator("#history .facts-line")).to_contain_text("last active 3 Jan 2024")
    told(page.locator("#answer .why").first).to_be_visible()
    told(page.locator("#latency")).to_contain_text("p50")
    assert f"user={USER}" in page.url


def test_events_are_in_the_history_at_once(open_page, service):
    """Of a user of its own: others are shown as the log has them."""
    page = open_page("#user=C0100")
    shown(page)
    page.wait_for_selector("#history .row")
    before = shown(page, "#history")
    new = shown(page)[0]
    event = {"user_id": "C0100", "item_id": new}
    assert service.post("/v1/events", {"events": [event]}).status == 200
    page.reload()
    told(page.locator("#history .row").first).to_have_attribute("data-item", new)
    told(page.locator("#history .row .when").first).to_contain_text("new, ")
    assert shown(page, "#history") == [new, *before][:SHORT]
    assert shown(page) == asked(service, user_id="C0100", release="item_cf")
    assert new not in shown(page)


def test_a_link_shows_what_was_asked_and_back_returns(open_page, service):
    page = open_page(f"#user={USER}&k=4&seen=false")
    assert shown(page) == asked(service, user_id=USER, k=4, exclude_seen=False, release="item_cf")
    with answered(page, '"exclude_seen":true'):
        page.get_by_label("Seen items").select_option("true")
    with answered(page, '"k":6'):
        page.get_by_label("Length").fill("6")
    page.get_by_role("link", name="Map").click()
    page.go_back()
    assert shown(page) == asked(service, user_id=USER, k=6, exclude_seen=True, release="item_cf")


def test_a_history_is_built_by_typing_titles(open_page, service):
    page = open_page()
    for text in ("green tea", "apple pie"):
        suggested(page, "Add to the history", text)
        field(page, "Add to the history").press("ArrowDown")
        with answered(page, "history"):
            field(page, "Add to the history").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#history .row').length === 2")
    history = shown(page, "#history")[::-1]  # newest first
    assert shown(page) == asked(service, history=history, release="item_cf")
    with answered(page, f'"history":["{history[0]}"]'):
        page.get_by_role("button", name=re.compile("^Remove .* from the history")).first.click()
    assert shown(page) == asked(service, history=history[:1], release="item_cf")


def test_an_item_shows_similar_ones_and_escape_leads_back(open_page, service):
    page = open_page(f"#user={USER}")
    first = page.locator("#answer .title").first
    first.click()
    similar = shown(page, "#item")
    body = {"item_id": shown(page)[0], "k": 8, "release": "item_cf"}
    assert similar == [one["item_id"] for one in service.post("/v1/similar", body).body["items"]]
    page.keyboard.press("Escape")
    told(page.locator("#item")).to_be_hidden()
    told(first).to_be_focused()


def test_two_releases_differ_by_ranks(open_page, service):
    page = open_page(f"#view=compare&user={USER}&k=20")
    a, b = (asked(service, user_id=USER, k=20, release=name) for name in ("item_cf", "popularity"))
    assert (shown(page, "#side-a"), shown(page, "#side-b")) == (a, b)
    common = [item for item in a if item in b]
    told(page.locator("#compare-summary")).to_contain_text(f"{len(common)} of 20 in common")
    told(page.locator("#side-a .badge")).to_have_count(len(a))
    badges = dict(zip(a, page.locator("#side-a .badge").all_inner_texts(), strict=True))
    assert [item for item, text in badges.items() if text == "only in A"] == [
        i for i in a if i not in b
    ]
    for item in common:
        places = b.index(item) - a.index(item)
        sign = "▲" if places > 0 else "▼"
        assert badges[item].startswith(f"{sign} {abs(places)}" if places else "same rank")


def test_the_map_goes_from_item_to_item_by_keys(open_page):
    page = open_page("#view=map")
    canvas = page.locator("#map")
    page.wait_for_function(DRAWN)
    canvas.focus()
    page.keyboard.press("ArrowRight")
    neighbours = shown(page, "#map-side")
    page.wait_for_function("() => location.hash.includes('item=')")
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.wait_for_selector("#item .row")
    page.keyboard.press("Escape")
    page.locator("#map-side .quiet").first.click()
    page.wait_for_function(f"() => location.hash.includes('item={neighbours[0]}')")
    # Points, rings and anti-aliased letters; painted with the next frame.
    page.wait_for_function("""() => {
      const canvas = document.querySelector('#map');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size > 50;
    }""")


def test_a_point_of_the_map_has_its_title_under_the_pointer(open_page):
    page = open_page("#view=map&item=SKU1000")
    page.wait_for_selector("#map-side .row")
    page.get_by_role("button", name="Zoom to it").click()
    x, y = page.evaluate("""async () => {
      const { plane } = (await import('/page/map.js')).drawn();
      return plane.place(plane.byId.get('SKU1000'));
    }""")
    page.locator("#map").hover(position={"x": x, "y": y})
    told(page.locator(".tip")).to_have_text("Grove Classic Whole Milk 500 g")


def test_figures_stand_beside_baselines_with_the_best_marked(open_page):
    page = open_page("#view=evaluation")
    page.wait_for_selector("td.best")
    told(page.locator("td.best")).to_have_count(3)
    best = page.locator("td.best").all_inner_texts()
    # hit_rate@10 and MRR of the model, hit_rate@100 of popularity.
    assert [text.split()[0] for text in best] == ["0.3000", "0.1500", "0.7000"]
    assert "0.280–0.320" in best[0]
    page.get_by_text("Seen items kept").click()
    page.wait_for_function("() => document.querySelector('td.best')?.innerText.startsWith('0.6')")
    told(page.locator("#view-evaluation")).to_contain_text(FIGURES["data"]["name"])


def test_an_index_has_its_curve_and_its_table(open_page):
    row = {"search_k": 100, "recall": 0.9, "standard_error": 0.01, "p50_us": 20.0, "p95_us": 30.0}
    tuning = {"k": 10, "target_recall": 0.95, "n_queries": 500, "exact_p50_us": 64.0}
    tuning["rows"] = [row, {**row, "search_k": 200, "recall": 0.96, "p50_us": 40.0}]

    def answer(route):
        told = route.fetch().json()
        route.fulfill(json={**told, "index": tuning})

    page = open_page("#view=evaluation", [("**/v1/evaluation*", answer)])
    told(page.locator("svg.chart circle")).to_have_count(3)  # two efforts and exact search
    told(page.locator("#view-evaluation")).to_contain_text("search_k 200 (chosen)")


def test_rules_of_a_pipeline_are_sent(open_page):
    """Facts as a pipeline has them; its lists would need TensorFlow, so here the request counts."""
    sent = []

    def facts(route):
        rules = {"diversity": 0.0, "caps": {"kind": 2}, "boosts": [], "allow": None}
        route.fulfill(json={**route.fetch().json(), "rules": rules})

    def recommend(route):
        body = json.loads(route.request.post_data)
        sent.append((body.pop("rules", None), body.pop("stages")))
        route.fulfill(response=route.fetch(post_data=json.dumps(body)))

    page = open_page(f"#user={USER}", [("**/v1/releases/*", facts), ("**/v1/recommend", recommend)])
    shown(page)
    page.get_by_text("Rules of the pipeline").click()
    told(page.get_by_label("Cap by")).to_have_value("kind")
    page.get_by_label("Diversity").fill("0.5")
    page.get_by_label("Boost where").select_option("brand")
    with answered(page, "Grove"):
        page.get_by_label("is", exact=True).fill("Grove")
    boosts = [{"by": 0.5, "column": "brand", "values": ["Grove"]}]
    assert sent[0] == (None, True)
    assert sent[-1][0] == {"diversity": 0.5, "caps": {"kind": 2}, "boosts": boosts, "allow": None}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (429, "queue_full", "More requests wait"),
        (503, "not_ready", "loads its releases"),
        (504, "deadline", "longer than the page waits"),
        (400, "bad_request", "no such item"),
    ],
)
def test_an_error_says_what_to_do_and_is_tried_again(open_page, status, code, words):
    failing = [True]

    def answer(route):
        if not failing:
            return route.continue_()
        error = {
            "error": {"code": code, "message": "There is no such item." if status == 400 else "No."}
        }
        return route.fulfill(status=status, json=error, headers={"Retry-After": "60"})

    page = open_page(f"#user={USER}", [("**/v1/recommend", answer)])
    problem = page.locator("#answer .problem")
    told(problem).to_contain_text(words)
    failing.clear()
    problem.get_by_role("button").click()
    assert shown(page)


def test_a_service_that_is_gone_is_named(open_page):
    page = open_page(f"#user={USER}", [("**/v1/recommend", lambda route: route.abort())])
    told(page.locator("#answer .problem")).to_contain_text("tfrecall serve")


def test_a_busy_service_is_asked_again_by_itself(open_page):
    busy = [1]

    def answer(route):
        if busy.pop() if busy else 0:
            route.fulfill(
                status=429, json={"error": {"message": "Busy."}}, headers={"Retry-After": "1"}
            )
        else:
            route.continue_()

    assert shown(open_page(f"#user={USER}", [("**/v1/recommend", answer)]))


def test_a_token_is_asked_for_and_sent(open_page):
    def answer(route):
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        else:
            route.fulfill(status=401, json={"error": {"code": "unauthorized", "message": "A token."}})

    page = open_page(f"#user={USER}", [("**/v1/recommend", answer)])
    page.get_by_label("Token", exact=True).fill("secret")
    page.keyboard.press("Enter")
    assert shown(page)


FOCUS = """() => {
  const { tagName, id, className } = document.activeElement;
  return { tagName, id, className, outline: getComputedStyle(document.activeElement).outlineStyle };
}"""


def test_one_can_do_without_a_pointer(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    told(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    with answered(page, f'"user_id":"{USER}"'):
        page.keyboard.type(USER)
        page.keyboard.press("Enter")
    # List and history are there: they would replace what has the focus.
    shown(page, "#answer:not([aria-busy])")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        # At one moment: between two looks the focus may be elsewhere.
        seen.append(page.evaluate(FOCUS))
        assert seen[-1]["outline"] != "none", seen  # where the focus is can be seen
        if page.evaluate("Boolean(document.activeElement.closest('#answer .row'))"):
            break
    else:
        pytest.fail(f"The list was not reached: {seen}")
    page.keyboard.press("Enter")
    page.wait_for_selector("#item[open] .row")


def test_colours_follow_the_system_until_they_are_switched(open_page):
    page = open_page(color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.get_by_role("button", name="Dark colours").click()
    page.wait_for_function(f"dark => {colour} !== dark", arg=dark)
    light = page.evaluate(colour)
    page.reload()
    page.wait_for_function(f"light => {colour} === light", arg=light)


def test_scripts_of_others_do_not_run(open_page):
    page = open_page(obeys_policy=False)
    blocked = page.evaluate("""() => new Promise((done) => {
      document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
      const script = document.createElement('script');
      script.textContent = 'window.ran = true';
      document.body.append(script);
    })""")
    assert blocked.startswith("script-src")
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_accessible_in_both_colours_and_narrow(open_page, view):
    """No violations of axe-core, contrast included; no sideways scrolling at 390 pixels."""
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(f"#view={view}&user={USER}&item=SKU1000", color_scheme="light")
    page.wait_for_load_state("networkidle")
    # Between the schemes only the contrast can differ. A narrow page shows nothing more, in the same colours.
    for size, scheme, rules in (
        (DESKTOP, "light", None),
        (DESKTOP, "dark", CONTRAST),
        (PHONE, "dark", None),
    ):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options=rules).response
        violations = [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]]
        assert not violations, (size, scheme)
        assert "color-contrast" in {rule["id"] for rule in found["passes"]}, (size, scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


def test_dialog_and_suggestions_are_accessible(open_page):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(f"#user={USER}")
    suggested(page, "Add to the history", "tea")
    found = Axe().run(page).response["violations"]
    page.keyboard.press("Escape")
    page.locator("#answer .title").first.click()
    page.wait_for_selector("#item .row")
    found += Axe().run(page).response["violations"]
    assert not [(v["id"], [node["html"] for node in v["nodes"]]) for v in found]
