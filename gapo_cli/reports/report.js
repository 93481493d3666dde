"use strict";
// The browser of groups. Whatever a model said goes through textContent, never through innerHTML.
(() => {
  const data = JSON.parse(document.getElementById("group-data").textContent);
  const root = document.getElementById("browser");
  const SHAPES = { normal: "normal", left: "left-skewed", right: "right-skewed", symmetric: "symmetric", zero: "no spread", unknown: "fewer than two rewards" };
  const state = { run: 0, step: 0, shape: "", family: "", order: "place", against: "change", group: null };

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "line", "rect", "circle", "text", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick" || key === "onchange" || key === "onmouseenter" || key === "onmouseleave") made[key] = value;
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const number = (value, digits = 3) => (value === null ? "missing" : value.toFixed(digits));
  const signed = (value, digits = 3) => (value === null ? "none" : (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits));
  const signOf = (value) => (value === null || Math.abs(value) < 1e-9 ? "zero" : value > 0 ? "plus" : "minus");
  const rewards = (group) => group.answers.map((answer) => answer.reward).filter((reward) => reward !== null);
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  const spread = (group) => { const all = rewards(group); return all.length ? Math.max(...all) - Math.min(...all) : 0; };

  // What changed must be seen even where it is white space.
  function visible(text) {
    const shown = text.replace(/\n/g, "↵\n").replace(/\t/g, "→\t");
    return /^[\s↵→]*$/.test(shown) ? shown.replace(/ /g, "·") : shown;
  }

  function segments(pieces) {
    return pieces.map(([kind, text]) => (kind === 0 ? document.createTextNode(text) : element(kind > 0 ? "ins" : "del", {}, visible(text))));
  }

  const steps = () => data[state.run].steps;
  const step = () => steps()[Math.min(state.step, steps().length - 1)];

  function shown() {
    const groups = step().groups.filter((group) => (!state.shape || group.shape === state.shape) && (!state.family || group.family === state.family));
    const keys = { place: () => 0, low: (group) => mean(rewards(group)) ?? 2, high: (group) => -(mean(rewards(group)) ?? -2), spread: (group) => -spread(group) };
    return groups.map((group, place) => [keys[state.order](group), place, group]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((row) => row[2]);
  }

  function choices(label, options, current, choose) {
    return element("span", { class: "choices", role: "group", "aria-label": label }, element("span", {}, label),
      ...options.map(([value, text]) => element("button", { type: "button", "aria-pressed": String(value === current), onclick: () => { choose(value); draw(); } }, text)));
  }

  function menu(label, options, current, choose) {
    const select = element("select", { onchange: (event) => { choose(event.target.value); draw(); } },
      ...options.map(([value, text]) => element("option", { value, selected: String(value) === String(current) ? "" : null }, text)));
    return element("label", {}, label, select);
  }

  function controls() {
    const groups = step().groups;
    const families = [...new Set(groups.map((group) => group.family))].sort();
    const shapes = Object.keys(SHAPES).filter((shape) => groups.some((group) => group.shape === shape));
    const count = (key, value) => groups.filter((group) => group[key] === value).length;
    return element("div", { class: "bar" },
      data.length > 1 ? menu("run", data.map((run, place) => [place, run.run]), state.run, (value) => { state.run = Number(value); state.step = 0; state.group = null; }) : null,
      choices("step", steps().map((one, place) => [place, String(one.step)]), Math.min(state.step, steps().length - 1), (value) => { state.step = value; state.group = null; }),
      menu("shape", [["", `all (${groups.length})`], ...shapes.map((shape) => [shape, `${SHAPES[shape]} (${count("shape", shape)})`])], state.shape, (value) => { state.shape = value; }),
      families.length > 1 ? menu("family", [["", "all"], ...families.map((family) => [family, `${family || "none"} (${count("family", family)})`])], state.family, (value) => { state.family = value; }) : null,
      menu("order", [["place", "as sampled"], ["spread", "widest spread"], ["low", "lowest reward"], ["high", "highest reward"]], state.order, (value) => { state.order = value; }),
      choices("against", [["change", "region"], ["error", "target"]], state.against, (value) => { state.against = value; }));
  }

  function range(group) {
    const all = [...rewards(group), group.q, group.low, group.high].filter((value) => value !== null);
    return [Math.min(0, ...all), Math.max(1, ...all)];
  }

  function mini(group) {
    const [low, high] = range(group);
    const place = (value) => 4 + (value - low) / (high - low) * 262;
    return element("svg", { class: "mini", viewBox: "0 0 270 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      element("line", { x1: 4, x2: 266, y1: 5, y2: 5, stroke: "var(--edge)" }),
      ...group.answers.filter((answer) => answer.reward !== null).map((answer) => element("circle", { class: signOf(answer.advantage), cx: place(answer.reward), cy: 5, r: 3.2, opacity: 0.75 })));
  }

  function list(groups) {
    const rows = groups.map((group) => element("button", { type: "button", "aria-pressed": String(group === state.group), onclick: () => { state.group = group; draw(); } },
      element("b", {}, group.family || group.language || "group"), group.dropped ? element("span", { class: "badge" }, "dropped") : null, mini(group),
      element("span", { class: "line2" }, element("span", {}, group.path), element("span", {}, number(mean(rewards(group)), 2)))));
    const one = step();
    if (!rows.length) rows.push(element("p", {}, "No group fits these filters."));
    if (one.groups.length < one.of) rows.push(element("p", {}, `${one.groups.length} of this step's ${one.of} groups are kept on this page, evenly over the shapes.`));
    return element("div", { class: "list" }, ...rows);
  }

  function strip(group) {
    const [low, high] = range(group);
    // on a phone the same picture would be too small to read
    const wide = root.clientWidth < 820 ? 360 : 720;
    const place = (value) => 16 + (value - low) / (high - low) * (wide - 32);
    const base = 58;
    const heights = new Map();
    const dots = group.answers.map((answer, number_) => {
      if (answer.reward === null) return null;
      const x = place(answer.reward);
      const column = Math.round(x / 11);
      const height = heights.get(column) ?? 0;
      heights.set(column, height + 1);
      return element("circle", { class: signOf(answer.advantage), cx: x, cy: base - 8 - height * 9, r: 4.5, "data-text": answer.text },
        element("title", {}, `answer ${number_ + 1}: reward ${number(answer.reward)}, advantage ${signed(answer.advantage)}`));
    });
    const top = Math.max(...heights.values(), 1) * 9 + 16;
    const start = Math.min(0, base - top);
    const drawn = element("svg", { class: "strip", viewBox: `0 ${start} ${wide} ${80 - start}`, role: "img", "aria-label": "rewards of the group" });
    if (group.low !== null && group.high !== null) {
      const width = Math.max(3, place(group.high) - place(group.low));
      drawn.append(element("rect", { class: "interval", x: place(group.low) - (width === 3 ? 1.5 : 0), y: start + 2, width, height: base - start - 2 },
        element("title", {}, `interval ${number(group.low)} to ${number(group.high)}`)));
    }
    drawn.append(element("line", { class: "axis", x1: 16, x2: wide - 16, y1: base, y2: base }));
    for (const value of [low, 0, 0.25, 0.5, 0.75, 1, high].filter((one, at, all) => one >= low && one <= high && all.indexOf(one) === at)) {
      drawn.append(element("line", { class: "axis", x1: place(value), x2: place(value), y1: base, y2: base + 4 }),
        element("text", { class: "tick", x: place(value), y: base + 17, "text-anchor": "middle" }, String(Number(value.toFixed(2)))));
    }
    if (group.q !== null) {
      drawn.append(element("line", { class: "q", x1: place(group.q), x2: place(group.q), y1: start + 2, y2: base }, element("title", {}, `Q = ${number(group.q)}`)));
    }
    drawn.append(...dots.filter((dot) => dot !== null));
    return drawn;
  }

  // Equal answers with equal rewards are one card.
  function cards(group, drawn) {
    const merged = new Map();
    for (const answer of group.answers) {
      const key = JSON.stringify([answer.text, answer.reward, answer.advantage, answer.tokens]);
      if (!merged.has(key)) merged.set(key, { answer, count: 0 });
      merged.get(key).count += 1;
    }
    const rows = [...merged.values()].sort((a, b) => (b.answer.reward ?? -9) - (a.answer.reward ?? -9));
    return rows.map(({ answer, count }) => {
      const text = group.texts[answer.text];
      const light = (on) => () => drawn.querySelectorAll(`[data-text="${answer.text}"]`).forEach((dot) => dot.classList.toggle("lit", on));
      const components = Object.entries(answer.components).map(([name, value]) => `${name} ${number(value, 2)}`).join(", ");
      return element("div", { class: "answer", onmouseenter: light(true), onmouseleave: light(false) },
        element("header", {},
          element("span", {}, "reward ", element("b", {}, number(answer.reward))),
          element("span", {}, "advantage ", element("span", { class: signOf(answer.advantage) }, signed(answer.advantage))),
          count > 1 ? element("span", {}, "×", element("b", {}, String(count))) : null,
          text.exact ? element("span", { class: "badge right" }, "exact") : null,
          text.unchanged && !text.exact ? element("span", { class: "badge" }, "unchanged") : null,
          answer.malformed ? element("span", { class: "badge wrong" }, `malformed: ${answer.malformed}`) : null,
          answer.cut ? element("span", { class: "badge wrong" }, "cut by the token limit") : null,
          element("span", {}, `${answer.tokens} tokens`),
          components ? element("span", {}, components) : null,
          answer.score !== null && answer.reward !== null && Math.abs(answer.score - answer.reward) > 1e-6 ? element("span", {}, `score ${number(answer.score)}`) : null),
        element("pre", {}, ...(text.raw !== undefined ? [text.raw] : segments(text[state.against]))));
    });
  }

  function detail(group) {
    const drawn = strip(group);
    const interval = group.low !== null && group.high !== null ? `, interval ${number(group.low)} to ${number(group.high)}` : "";
    const words = [`${SHAPES[group.shape] ?? group.shape}`, group.q !== null ? `Q ${number(group.q)}${interval}` : "no baseline", `mean ${number(mean(rewards(group)))}`];
    if (group.dropped) words.push("dropped by dynamic sampling");
    return element("div", { class: "group" },
      element("h3", {}, [group.family, group.path].filter(Boolean).join(" · ")),
      element("p", { class: "note" }, group.task),
      element("h4", {}, "What was asked for: region → target"),
      element("pre", { class: "code" }, element("span", { class: "around" }, group.before), element("span", { class: "edit" }, ...segments(group.edit)), element("span", { class: "around" }, group.after)),
      element("details", {}, element("summary", {}, "prompt"), element("pre", { class: "code" }, group.prompt)),
      element("h4", {}, `Rewards: ${words.join(", ")}`), drawn,
      element("h4", {}, `Answers, against the ${state.against === "change" ? "region as it stood" : "target"}`),
      ...cards(group, drawn));
  }

  function draw() {
    const groups = shown();
    const kept = root.querySelector(".list")?.scrollTop ?? 0;
    const same = groups.includes(state.group);
    if (!same) state.group = groups[0] ?? null;
    const made = list(groups);
    root.replaceChildren(controls(), element("div", { class: "panes" }, made, state.group ? detail(state.group) : element("div", {})));
    if (same) made.scrollTop = kept;
  }

  draw();
})();
