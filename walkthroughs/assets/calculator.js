"use strict";
// The calculator: fields to numbers, with the tables of traces and the plans of frame counts; see numbers.js.
(() => {
  const $ = (id) => document.getElementById(id);
  const folder = new URL("calculator/", document.currentScript.src);
  const { commas, amount, percent } = numbers;
  const NAMES = ["frames", "height", "width", "batch", "text_tokens", "steps", "passes"];
  const MOST = { steps: 1000, passes: 8 };
  const model = $("ask-model");
  const inputs = Object.fromEntries(NAMES.map((name) => [name, $("ask-" + name)]));
  const kept = new Map(); // the data of models that were chosen
  let data = null;
  let shown = false; // whether the numbers below are of this model

  // The request as published: sizes of the settings, the pipeline's steps, one pass.
  const published = () => {
    const sizes = Object.fromEntries(data.settings.map((s) => [s.name, s.value]));
    return { ...sizes, ...(data.plan ? { frames: data.plan.value } : {}), steps: data.steps || 1, passes: 1 };
  };
  const setting = (name) => data.settings.find((s) => s.name === name);
  const planned = (name) => name === "frames" && data.clips; // counted in clips, whatever one forward sees
  const fixed = (name) => (name in MOST || planned(name) ? "" : (setting(name) || {}).fixed || "");
  const has = (name) => name in MOST || setting(name) !== undefined || (name === "frames" && data.plan !== null);

  // Frames

  const plan = (n) => numbers.outcome(data.plan, n);
  const exact = (n) => {
    const { returned, blank } = plan(n).letters;
    return returned === n && !blank;
  };
  const counts = (from, to, by) => {
    const out = [];
    for (let n = from; by > 0 ? n <= to : n >= to; n += by) out.push(n);
    return out;
  };
  // The nearest counts that come out as asked; where none does, what to ask for to get the nearest that come out at all.
  function near(n) {
    const low = Math.max(1, n - data.reach), high = Math.min(data.plan.most, n + data.reach);
    const below = counts(n - 1, low, -1).find(exact), above = counts(n + 1, high, 1).find(exact);
    if (exact(n) || below || above) return { below, above, instead: [] };
    const made = new Map();
    for (const m of counts(low, high - 1, 1)) {
      const { returned, blank } = plan(m).letters;
      if (returned && !blank && !made.has(returned)) made.set(returned, m);
    }
    const got = [...made.keys()];
    const fewer = Math.max(0, ...got.filter((g) => g < n)), more = Math.min(Infinity, ...got.filter((g) => g >= n));
    return { instead: [fewer, more].filter((g) => made.has(g)).map((g) => [made.get(g), g]) };
  }

  // Costs

  // One forward, of a kind of clip or the only kind there is.
  function forward(kind, letters) {
    const own = { ...letters };
    for (const [letter, value] of Object.entries(kind.values)) {
      if (!kind.letters.includes(letter)) own[letter] = value;
    }
    const values = numbers.counts(kind)(own);
    const at = (name) => (name in kind.at ? values[kind.at[name]] : undefined);
    return { letters: own, flops: at("flops"), bytes: at("bytes"), attention: at("attention"), tokens: at("tokens") };
  }

  function whole(letters, made, one, forwards) {
    const kinds = Object.entries(data.kinds).filter(([name]) => name);
    if (!made || !kinds.length) return one.flops * BigInt(made ? made.runs : 1) * forwards;
    return kinds.reduce((sum, [name, kind]) => sum + forward(kind, letters).flops * BigInt(made[name]) * forwards, 0n);
  }

  // What is asked, and what comes of it

  function asked() {
    const texts = Object.fromEntries(NAMES.filter(has).map((name) => [name, inputs[name].value]));
    const settings = data.settings.filter((s) => !planned(s.name));
    const found = numbers.ask({ ...data, settings }, texts);
    const own = planned("frames") || (data.plan && !setting("frames")) ? { frames: data.plan.most - data.reach } : {};
    for (const [name, most] of Object.entries({ ...own, ...MOST })) {
      const value = numbers.whole(texts[name], most);
      found.said[name] = { error: value === null ? [numbers.unread(most)] : [], warning: [] };
      if (value === null) found.refused = true;
      else found.sizes[name] = value;
    }
    return found;
  }

  function recompute() {
    const found = asked();
    for (const name of NAMES) {
      const { error, warning } = found.said[name] || { error: [], warning: [] };
      inputs[name].setAttribute("aria-invalid", error.length > 0);
      $("said-" + name).className = error.length ? "bad" : "";
      $("said-" + name).textContent = [fixed(name) ? "fixed: " + fixed(name) : "", ...error, ...warning].filter(Boolean).join(" ");
    }
    $("calculate").classList.toggle("stale", found.refused);
    if (found.refused) {
      $("answer-said").textContent = "Refused" + (shown ? ": the numbers are still those of the last request." : ".");
      return;
    }
    shown = true;
    $("answer-said").textContent = "";
    const frames = "frames" in found.sizes ? found.sizes.frames : data.plan ? data.plan.value : null;
    const told = frames === null || !data.plan ? null : plan(frames);
    const one = forward(data.kinds[""], found.letters);
    const runs = told ? told.letters.runs : 1;
    const forwards = BigInt(found.sizes.steps) * BigInt(found.sizes.passes);
    const rows = [];
    if (told) rows.push(["frames that come out", came(frames, told)]);
    if (told) rows.push(["latent frames", commas(told.letters.latents) + seen(told.letters)]);
    rows.push(["latents, rows by columns", one.letters.H + " × " + one.letters.W]);
    if (one.tokens !== undefined) rows.push([(data.video ? "video" : "image") + " tokens", commas(one.tokens)]);
    rows.push(["FLOPs a forward", amount(one.flops, "FLOP"), commas(one.flops)]);
    rows.push(["attention", percent(numbers.share(one.attention, one.flops)) + " of the FLOPs"]);
    rows.push(["activations written", amount(one.bytes, "B"), commas(one.bytes)]);
    rows.push(["forwards", commas(forwards * BigInt(runs)) + (runs > 1 ? ", in " + commas(runs) + " runs" : "")]);
    const total = whole(found.letters, told && told.letters, one, forwards);
    rows.push(["FLOPs " + (data.video ? "a video" : "an image"), amount(total, "FLOP"), commas(total)]);
    rows.push(["parameters", data.params]);
    $("answer").replaceChildren(...rows.map(([name, text, exactly]) => {
      const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = text;
      if (exactly) {
        const small = document.createElement("small");
        small.textContent = exactly;
        dd.append(" ", small);
      }
      row.dataset.of = name;
      row.append(dt, dd);
      return row;
    }));
    offer(frames, told);
    $("answer-why").hidden = !told;
    $("answer-why").lastElementChild.replaceChildren(...(told ? [...told.warning, ...told.error] : []).map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    ways();
  }

  const came = (frames, { letters, error }) => {
    if (error.length) return "none: the pipeline fails";
    const gained = letters.returned - frames;
    const how = gained > 0 ? commas(gained) + " more than asked" : gained < 0 ? commas(-gained) + " fewer than asked" : "as asked";
    return commas(letters.returned) + ", " + how + (letters.blank ? ", " + letters.blank + " of them grey" : "");
  };
  const seen = (letters) => (letters.seen === letters.latents ? "" : ", " + commas(letters.seen) + " in one forward");

  // Buttons for the counts that work.
  function offer(frames, told) {
    const box = $("answer-near");
    box.replaceChildren();
    if (!told || fixed("frames")) return;
    const found = near(frames);
    const choose = (n, said) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = said;
      button.addEventListener("click", () => { inputs.frames.value = n; changed(); inputs.frames.focus(); });
      return button;
    };
    const close = [found.below, found.above].filter(Boolean).map((n) => choose(n, commas(n)));
    if (close.length) box.append(exact(frames) ? "Also as asked: " : "Nearest that come out as asked: ", ...close);
    else if (found.instead.length) {
      box.append("No count near comes out as asked: ask ");
      found.instead.forEach(([n, get], i) => box.append(i ? " or " : "", choose(n, commas(n) + " to get " + commas(get))));
    }
  }

  function ways() {
    const link = (path, text) => {
      const a = document.createElement("a");
      a.href = new URL("../../" + path, folder).href;
      a.textContent = text;
      return a;
    };
    const state = address(["steps", "passes"]).join("&");
    $("answer-links").replaceChildren(
      link("explore/" + data.name + ".html" + (state ? "#&" + state : ""), "every call at these sizes"), " · ",
      link("models/" + data.name + "/", data.name));
  }

  // The address: #cogvideox-5b&frames=33

  const address = (without = []) => {
    const plain = published();
    const moved = (name) => has(name) && !fixed(name) && !without.includes(name) && inputs[name].value !== String(plain[name]);
    return NAMES.filter(moved).map((name) => name + "=" + encodeURIComponent(inputs[name].value));
  };
  function write() {
    const now = location.href.split("#")[0] + "#" + [data.name, ...address()].join("&");
    if (now !== location.href) history.replaceState(null, "", now);
  }
  function changed() {
    recompute();
    write();
  }
  function fill(values) {
    const all = { ...published(), ...values };
    for (const name of NAMES) {
      $("field-" + name).hidden = !has(name);
      inputs[name].value = has(name) ? all[name] : "";
      inputs[name].readOnly = fixed(name) !== "";
    }
  }

  async function choose(name, values) {
    try {
      if (!kept.has(name)) {
        const answer = await fetch(new URL(name + ".json", folder));
        if (!answer.ok) throw new Error(answer.statusText);
        kept.set(name, await answer.json());
      }
    } catch {
      $("calculate").classList.add("stale");
      $("answer-said").textContent = "The numbers of " + name + " could not be read.";
      return;
    }
    if (model.value !== name) return; // another one was chosen meanwhile
    data = kept.get(name);
    shown = false;
    fill(values);
    changed();
    $("calculate").dataset.ready = name;
  }
  function read() {
    const [first, ...rest] = location.hash.slice(1).split("&");
    const known = [...model.options].map((option) => option.value);
    const name = known.includes(first) ? first : "cogvideox-5b";
    const given = rest.map((part) => part.split("=")).filter(([key, value]) => NAMES.includes(key) && /^\d+$/.test(value));
    model.value = name;
    choose(name, Object.fromEntries(given));
  }

  for (const name of NAMES) inputs[name].addEventListener("input", changed);
  model.addEventListener("change", () => choose(model.value, {}));
  const form = $("calculate").querySelector("form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); fill({}); changed(); });
  addEventListener("hashchange", read);
  $("calculate").hidden = false;
  $("calculate-not").hidden = true;
  read();
})();
