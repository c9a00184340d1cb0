"""What the checks in a browser share: its options, the looks of a reader, a visit, and what can be wrong."""

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

LOOKS = pytest.mark.parametrize(
    ("width", "scheme"),
    [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")],
    ids=lambda value: str(value),
)


class Visit:
    """One page, opened, and what was seen while it loaded."""

    def __init__(self, context, url, until="networkidle"):
        self.page = context.new_page()
        self.requests = []
        self.errors = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.goto(url, wait_until=until)


def sideways(visit):
    """How far the page as a whole can be pushed sideways, as a sentence; nothing when it cannot."""
    over = visit.page.evaluate(
        "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        " - document.documentElement.clientWidth"
    )
    return [f"scrolls sideways by {over} px"] if over > 0 else []


def violations(visit, axe):
    """Serious and critical findings of axe-core, each with the first element it names."""
    visit.page.evaluate(axe.read_text(encoding="utf-8"))  # a page's policy may forbid script tags
    found = visit.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"axe {one['id']} ({one['impact']}, {len(one['nodes'])}×): {one['help']}\n"
        f"  {one['nodes'][0]['html'][:160]}\n  {one['nodes'][0]['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
