"""The page is used by keyboard and read by a screen reader, in light and in dark."""

import pytest

from tests.serving.conftest import clip


def test_every_control_has_a_name_and_the_keyboard_reaches_it(chromium, running):
    with chromium.page(f"http://127.0.0.1:{running.port}/") as page:
        page.ready()
        unnamed = page.run(
            """() => [...document.querySelectorAll("button, input, audio, progress, canvas[role]")]
                .filter(one => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel).map(one => one.id)"""
        )
        assert unnamed == []
        page.tab.locator("a.skip").focus()
        page.tab.keyboard.press("Tab")
        assert page.run("document.activeElement.id") == "listen-button"


_CONTRASTS = """() => {
    const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d",
        {willReadFrequently: true});
    const seen = layers => {  // The light of colours that lie over each other, as WCAG 2 counts it.
        layers.forEach(layer => { pen.fillStyle = layer; pen.fillRect(0, 0, 1, 1); });
        const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map(x => x / 255)
            .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = one => one ? [...ground(one.parentElement), getComputedStyle(one).backgroundColor] : ["Canvas"];
    return [...document.querySelectorAll("body *")].filter(one => one.checkVisibility() && !one.disabled
        && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())).map(one => {
            const [a, b] = [seen(ground(one)), seen([...ground(one), getComputedStyle(one).color])];
            return [one.id || one.textContent.trim().slice(0, 30), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
        });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_walked_through_in_light_and_dark(chromium, running, scheme):
    with chromium.page(f"http://127.0.0.1:{running.port}/", color_scheme=scheme) as page:
        page.ready().drop("cafe.wav", clip(1, start_s=9.0))
        page.answered()
        page.until("document.activeElement.id === 'answer'")  # So that a screen reader reads it.
        page.tab.get_by_text("Add and remove").click()
        faint = [(name, ratio) for name, ratio in page.run(_CONTRASTS) if ratio < 4.5]  # WCAG 2, level AA.
        assert faint == []
        assert (page.run("getComputedStyle(document.body).colorScheme || ''") or scheme) in (scheme, "light dark")
        said = page.tab.locator("body").aria_snapshot()
        for line in ('button "Listen"', 'region "Title 1"', 'heading "A file"', 'searchbox "Search"', "status"):
            assert line in said
        page.tab.locator("a.skip").focus()
        reached = set()
        for _ in range(40):
            page.tab.keyboard.press("Tab")
            reached.add(page.run("document.activeElement.id || document.activeElement.textContent.trim()"))
            is_marked = page.run("document.activeElement.matches('body, :focus-visible')")
            outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
            assert is_marked
            assert outline != "none" or page.run("document.activeElement === document.body")
        assert {"listen-button", "file-input", "search-text", "token", "Options"} <= reached
