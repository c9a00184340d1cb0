"use strict";
// What the tables and settings of a trace come to at other sizes, and how amounts are said: for every page that asks.
const numbers = (() => {
  // Whole numbers without limit, as the tables may hold products beyond 2^53.

  function evaluate(count, letters) {
    let above = 0n, below = 1n;
    for (const [numerator, denominator, ...powers] of count) {
      let over = numerator, under = denominator;
      for (let i = 0; i < powers.length; i += 2) {
        const letter = letters[Number(powers[i])], power = powers[i + 1];
        if (power > 0n) over *= letter ** power;
        else under *= letter ** -power;
      }
      above = above * under + over * below;
      below *= under;
    }
    return above % below === 0n ? above / below : null;
  }

  // All counts of a table, as a function of the letters by name; null where one is no whole number.
  function counts(data) {
    const terms = data.counts.map((count) => count.map((term) => term.map((n) => BigInt(n))));
    return (letters) => {
      const values = data.letters.map((s) => BigInt(letters[s]));
      return terms.map((count) => evaluate(count, values));
    };
  }

  const share = (part, whole) => (whole ? Number((part * 10n ** 18n) / whole) / 1e18 : 0);

  const commas = (text) => String(text).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

  // As Python formats: a tie goes to the even digit.
  function fixed(value, digits) {
    const exact = value.toFixed(20), tie = /\.(\d*)$/.exec(exact)[1].slice(digits);
    const text = value.toFixed(digits);
    if (!/^50*$/.test(tie) || "02468".includes(text.at(-1))) return text;
    return (Number(text) - 10 ** -digits).toFixed(digits);
  }

  const UNITS = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  function amount(count, unit) {
    const value = Number(count);
    for (const [size, letter] of UNITS) {
      if (value >= size * 0.9995) {
        const scaled = value / size;
        return fixed(scaled, scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2) + " " + letter + unit;
      }
    }
    return value + " " + unit;
  }
  const percent = (part) => fixed(part * 100, part >= 0.0995 ? 0 : 1) + " %";

  // What a value of one size makes: the line of its remainder, the numbers of its quotient.
  function outcome(setting, value) {
    const quotient = Math.floor(value / setting.period);
    const lines = setting.lines[value % setting.period];
    let i = lines.length - 1;
    while (i > 0 && lines[i][0] > quotient) i -= 1;
    const [start, texts, given] = lines[i];
    const made = given.map(([base, growth]) => base + growth * (quotient - start));
    const found = { letters: {}, error: [], warning: [] };
    setting.letters.forEach((letter, k) => (found.letters[letter] = made[k]));
    let next = setting.letters.length;
    for (const t of texts) {
      const [kind, text] = setting.texts[t];
      found[kind].push(text.replace(/##?/g, (m) => (m === "##" ? commas(made[next++]) : made[next++])));
    }
    return found;
  }

  // The stops of a slider: values without a sentence, else those that run.
  function stops(setting) {
    const values = Array.from({ length: setting.most }, (_, i) => i + 1);
    const found = values.map((v) => outcome(setting, v));
    const clean = values.filter((_, i) => !found[i].error.length && !found[i].warning.length);
    return clean.length > 1 ? clean : values.filter((_, i) => !found[i].error.length);
  }

  // The place of the first stop that is not below a value.
  function stop(places, value) {
    const at = places.findIndex((place) => place >= value);
    return at < 0 ? places.length - 1 : at;
  }

  // A whole number from 1 to the most, or null.
  function whole(text, most) {
    const trimmed = text.trim(), value = Number(trimmed);
    return /^\d+$/.test(trimmed) && value >= 1 && value <= most ? value : null;
  }
  const unread = (most) => "This page reads whole numbers from 1 to " + commas(most) + " here.";

  // What the sizes of a request make together: sizes as numbers, letters, sentences for each, whether it is refused.
  function ask(data, texts) {
    const letters = { ...data.values }, sizes = {}, said = {};
    let refused = false;
    for (const s of data.settings.filter((one) => !one.fixed)) {
      const value = whole(texts[s.name], s.most);
      const found = value === null ? { letters: {}, error: [unread(s.most)], warning: [] } : outcome(s, value);
      if (value !== null) sizes[s.name] = value;
      Object.assign(letters, found.letters);
      said[s.name] = found;
      refused = refused || found.error.length > 0;
    }
    return { letters, refused, sizes, said };
  }

  return { counts, share, commas, amount, percent, outcome, stops, stop, whole, unread, ask };
})();
