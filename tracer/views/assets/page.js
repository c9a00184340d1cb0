"use strict";
// The page works without this; it adds fields that recompute, search, folding, a state in the address, keys.
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const data = JSON.parse($("ui-data").textContent);
  const counts = numbers.counts(data);

  // Rows that are on the page already are put where they are referred to; what is referred to comes before.
  for (const said of all("p.r")) {
    const first = $(said.querySelector("a").hash.slice(1));
    const { from, to, whole } = said.dataset;
    for (const part of whole === undefined ? [first] : [first.previousElementSibling, first]) {
      const copy = part.cloneNode(true);
      for (const e of [copy, ...all("[id]", copy)]) e.removeAttribute("id");
      for (const e of from === to ? [] : all(".g", copy)) moveTo(e, from + ".", to + ".");
      said.before(copy);
    }
    said.remove();
  }
  function moveTo(line, from, to) { // the paths of modules in it
    for (const text of line.childNodes) {
      if (text.nodeType !== Node.TEXT_NODE) continue;
      text.data = text.data.split(" · ").map((s) => (s.startsWith(from) ? to + s.slice(from.length) : s)).join(" · ");
    }
  }

  const { commas, amount, percent } = numbers;
  const moving = data.settings.filter((s) => !s.fixed);
  for (const s of moving) {
    s.stops = numbers.stops(s);
    s.field = $("ui-" + s.name);
    s.said = $("ui-" + s.name + "-said");
    s.slider = document.querySelector('[data-of="' + s.name + '"]');
    s.slider.max = s.stops.length - 1;
  }

  // Everything on the page that is a number.

  const shapes = all("[data-s]").map((e) => [e, data.shapes[e.dataset.s], e.dataset.n ? " ×" + e.dataset.n : ""]);
  const amounts = all("[data-c]").map((e) => [e, Number(e.dataset.c), e.dataset.u]);
  const shares = all("[data-p]").map((e) => [e, Number(e.dataset.p), e.dataset.w]);
  const rests = all("[data-if]").map((e) => [e, JSON.parse(e.dataset.if)]);
  const total = document.querySelector("dd [data-u=FLOP]");

  function show(letters) {
    const values = counts(letters);
    const text = (n) => (n === null ? "?" : String(n));
    for (const [e, axes, more] of shapes) {
      e.textContent = (axes.map((a) => (a < 0 ? text(values[-1 - a]) : a)).join(" ") || "scalar") + more;
    }
    for (const [e, i, unit] of amounts) {
      const n = values[i];
      e.textContent = n === null ? "?" : unit ? amount(n, unit) : commas(n);
      if (unit) e.title = n === null ? "" : commas(n) + " " + unit;
    }
    const whole = total ? values[total.dataset.c] : null;
    for (const [e, i, word] of shares) {
      const share = numbers.share(values[i], whole);
      e.textContent = word || share >= 0.0005 ? percent(share) + (word ? " " + word : "") : "";
      if (!word) e.style.setProperty("--p", share.toFixed(4));
    }
    let off = false;
    for (const [e, conditions] of rests) {
      const broken = conditions.some(([s, sign, n]) => {
        const here = BigInt(letters[s]);
        return sign === "=" ? here !== BigInt(n) : here > BigInt(n);
      });
      e.classList.toggle("broken", broken);
      off = off || broken;
    }
    document.body.classList.toggle("off", off);
    return off;
  }

  let asked = Object.fromEntries(data.settings.map((s) => [s.name, s.value]));
  let shown = asked;

  function recompute() {
    const texts = Object.fromEntries(moving.map((s) => [s.name, s.field.value]));
    const { letters, refused, sizes, said: sentences } = numbers.ask(data, texts);
    for (const s of moving) {
      const { error, warning } = sentences[s.name], bad = error.length > 0;
      s.field.setAttribute("aria-invalid", bad);
      s.said.className = bad ? "said bad" : "said";
      s.said.textContent = [...error, ...warning].join(" ");
      if (s.name in sizes) {
        s.slider.value = numbers.stop(s.stops, sizes[s.name]);
        s.slider.setAttribute("aria-valuetext", String(sizes[s.name]));
      }
    }
    document.body.classList.toggle("stale", refused);
    asked = { ...asked, ...sizes };
    let said = "";
    if (refused) said = "Refused: the numbers are still those of " + words(shown) + ".";
    else {
      shown = { ...asked };
      if (show(letters)) {
        said = "Not everything below holds at this size: see what this rests on, at the end.";
      }
      $("ui-became").textContent = data.letters.map((s) => s + " " + letters[s]).join(" · ");
    }
    $("ui-said").textContent = said;
  }

  function words(sizes) {
    const named = (name, text) => (name in sizes ? [text] : []);
    return [...named("frames", sizes.frames + " frames"), ...named("height", sizes.height + "×" + sizes.width),
      ...named("batch", "batch " + sizes.batch), ...named("text_tokens", sizes.text_tokens + " text tokens")].join(", ");
  }

  // The tree: which rows are there, which are open.

  const tree = $("ui-tree");
  const items = all("li", tree).map((e) => {
    const details = e.firstElementChild, parent = e.parentElement.closest("li");
    return { e, details, parent, stage: "", text: "" };
  });
  const byElement = new Map(items.map((item) => [item.e, item]));
  for (const item of items) { // parents come first
    const own = item.details.querySelector("summary em");
    const above = byElement.get(item.parent);
    item.stage = own ? own.textContent : above ? above.stage : "";
    item.quiet = item.e.classList.contains("q");
  }
  const textOf = (item) => {
    if (!item.text) {
      const panel = item.details.querySelector(".x");
      item.text = (item.details.firstElementChild.textContent + " " + panel.textContent).toLowerCase();
    }
    return item.text;
  };
  const openTo = (item) => {
    for (let p = byElement.get(item.parent); p; p = byElement.get(p.parent)) p.details.open = true;
  };

  let before = null; // which rows were open before a search
  function filter() {
    const words = $("ui-find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const stage = $("ui-stage") ? $("ui-stage").value : "";
    const ops = $("ui-ops").checked;
    tree.classList.toggle("ops", ops);
    const active = words.length > 0 || stage !== "";
    if (active && !before) before = items.map((item) => item.details.open);
    if (!active) {
      items.forEach((item, i) => {
        item.e.hidden = false;
        item.e.classList.remove("found", "way");
        if (before) item.details.open = before[i];
      });
      before = null;
      $("ui-found").textContent = "";
      return;
    }
    const hits = new Set();
    const kept = new Set();
    for (const item of items) {
      if (item.quiet && !ops && !words.length) continue;
      if (stage && item.stage !== stage) continue;
      if (!words.every((word) => textOf(item).includes(word))) continue;
      hits.add(item);
      for (let p = item; p && !kept.has(p); p = byElement.get(p.parent)) kept.add(p);
    }
    for (const item of items) {
      item.e.hidden = !kept.has(item);
      item.e.classList.toggle("found", hits.has(item));
      item.e.classList.toggle("way", kept.has(item) && !hits.has(item));
      item.details.open = false;
    }
    for (const item of hits) openTo(item);
    $("ui-found").textContent = hits.size + " of " + items.length + " rows" + (hits.size ? "" : "; nothing matches");
  }

  function fold(open) {
    for (const item of items) item.details.open = item.parent ? open && item.details.querySelector("ul") !== null : true;
  }

  function jump(slug) {
    const item = byElement.get(document.getElementById(slug));
    if (!item) return;
    if (item.e.hidden) {
      $("ui-find").value = "";
      $("ui-stage").value = "";
      filter();
    }
    openTo(item);
    item.details.open = true;
    const bar = $("ui-tools"); // the row must not hide under it
    const sticks = getComputedStyle(bar).position === "sticky";
    document.documentElement.style.scrollPaddingTop = (sticks ? bar.offsetHeight : 0) + 8 + "px";
    tree.querySelectorAll(".target").forEach((e) => e.classList.remove("target"));
    item.e.classList.add("target");
    item.e.scrollIntoView({ block: "start" });
    item.details.firstElementChild.focus({ preventScroll: true });
  }

  // The address holds what was asked, so that a link shows the same: #rope&frames=33.

  let target = "";
  const views = { q: "ui-find", stage: "ui-stage", show: "ui-show" };
  function write() {
    const parts = data.settings.filter((s) => asked[s.name] !== s.value).map((s) => s.name + "=" + asked[s.name]);
    for (const [key, id] of Object.entries(views)) {
      if ($(id) && $(id).value) parts.push(key + "=" + encodeURIComponent($(id).value));
    }
    if ($("ui-ops").checked) parts.push("ops=1");
    const address = [target, ...parts].filter((part, i) => part || (i === 0 && parts.length)).join("&");
    const now = location.href.split("#")[0] + (address ? "#" + address : "");
    if (now !== location.href) history.replaceState(null, "", now);
  }
  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return "";
    }
  };
  function read() {
    const [first, ...rest] = location.hash.slice(1).split("&");
    const given = new Map(rest.map((part) => [part.split("=")[0], decoded(part.split("=").slice(1).join("="))]));
    if (rest.length || !byElement.has(document.getElementById(decoded(first)))) {
      for (const s of moving) s.field.value = given.get(s.name) || s.value;
      for (const [key, id] of Object.entries(views)) if ($(id)) $(id).value = given.get(key) || "";
      if ($("ui-stage") && $("ui-stage").selectedIndex < 0) $("ui-stage").value = "";
      if ($("ui-show").selectedIndex < 0) $("ui-show").value = "";
      $("ui-ops").checked = given.get("ops") === "1";
      if (data.letters.length) recompute();
      look();
      filter();
    }
    target = decoded(first);
    if (target) jump(target);
    if (!rest.length) write(); // a plain link to a stage keeps what was asked
  }
  const look = () => (document.body.dataset.show = $("ui-show").value);

  // Wiring.

  for (const s of moving) {
    s.field.addEventListener("input", () => { recompute(); write(); });
    s.slider.addEventListener("input", () => { s.field.value = s.stops[s.slider.value]; recompute(); write(); });
  }
  if (data.letters.length) {
    $("ui-ask").hidden = false;
    $("ui-ask").querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    $("ui-reset").addEventListener("click", (event) => {
      event.preventDefault();
      for (const s of moving) s.field.value = s.value;
      recompute();
      write();
    });
  }
  document.documentElement.classList.add("js");
  $("ui-tools").hidden = false;
  let wait = 0;
  $("ui-find").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => { filter(); write(); }, 120);
  });
  for (const id of ["ui-stage", "ui-ops"]) $(id)?.addEventListener("change", () => { filter(); write(); });
  $("ui-show").addEventListener("change", () => { look(); write(); });
  $("ui-fold").addEventListener("click", () => fold(false));
  $("ui-unfold").addEventListener("click", () => fold(true));

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = $("ui-theme");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const paint = () => { theme.textContent = isDark() ? "light" : "dark"; };
  theme.hidden = false;
  theme.setAttribute("aria-label", "switch between light and dark");
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    paint();
  });
  dark.addEventListener("change", paint);
  paint();

  // Keys: / finds; in the tree the arrows walk, open and close.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = document.activeElement;
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(here.tagName)) {
      event.preventDefault();
      $("ui-find").focus();
    } else if (event.key === "Escape" && here === $("ui-find")) {
      here.value = "";
      filter();
      write();
    } else if (here.tagName === "SUMMARY" && tree.contains(here)) {
      const item = byElement.get(here.closest("li"));
      const rows = all("summary", tree).filter((s) => s.checkVisibility());
      const go = (element) => { event.preventDefault(); element?.focus(); };
      if (event.key === "ArrowDown") go(rows[rows.indexOf(here) + 1]);
      else if (event.key === "ArrowUp") go(rows[rows.indexOf(here) - 1]);
      else if (event.key === "Home") go(rows[0]);
      else if (event.key === "End") go(rows.at(-1));
      else if (event.key === "ArrowRight") {
        if (item.details.open) go(item.details.querySelector(":scope > ul summary"));
        else { event.preventDefault(); item.details.open = true; }
      } else if (event.key === "ArrowLeft") {
        if (item.details.open) { event.preventDefault(); item.details.open = false; }
        else go(byElement.get(item.parent)?.details.firstElementChild);
      }
    }
  });
  addEventListener("hashchange", read);
  addEventListener("load", () => setTimeout(() => jump(target))); // the browser's own jump takes the focus away
  if (matchMedia("(max-width: 60rem)").matches && $("ui-nav")) $("ui-nav").open = false;
  read();
})();
