"use strict";
// The browser of groups: pick one, choose an estimator, move tau. Texts go through textContent, never through innerHTML.
if (typeof document !== "undefined") (() => {
  const data = JSON.parse(document.getElementById("lab-data").textContent);
  const root = document.getElementById("browser");
  const state = { source: 0, group: 0, estimator: "gapo", tau: 0.5, size: 0, from: 0 };
  const WIDE = 720;

  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "line", "rect", "circle", "text", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made[key] = value;
      else if (value !== null && value !== false) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const sign = (value) => (value === 0 ? "zero" : value > 0 ? "plus" : "minus");
  // A wrong reward of 1e300 must not fill the page.
  const number = (value) => (Math.abs(value) < 1e6 ? value.toFixed(3) : value.toPrecision(4));
  const source = () => data[state.source];
  const whole = () => source().groups[state.group];
  // A group of `size` answers out of a pool: those from place `from` on, as if they had been drawn.
  const drawn = (values) => (state.size ? values.slice(state.from, state.from + state.size) : values);

  function menu(label, options, current, choose) {
    return element("label", {}, label, element("select", { "aria-label": label, onchange: (event) => { choose(Number(event.target.value)); draw(); } },
      ...options.map((text, value) => element("option", { value, selected: value === current ? "" : null }, text))));
  }

  function slider(label, low, high, step, value, choose) {
    const shown = element("b", {}, String(value));
    const input = element("input", { type: "range", min: low, max: high, step, value, "aria-label": label,
      oninput: (event) => { choose(Number(event.target.value)); shown.textContent = event.target.value; show(); } });
    return element("label", {}, `${label} `, input, shown);
  }

  // What was chosen for another group may not be there for this one.
  function fitToGroup() {
    if (state.size >= whole().rewards.length) state.size = state.from = 0;
    const names = gapoEstimators.namesFor(whole().lengths);
    if (!names.includes(state.estimator)) state.estimator = names[0];
  }

  const sources = () => (data.length > 1 ? [menu("rollouts", data.map((one) => one.source), state.source, (value) => { state.source = value; state.group = 0; state.from = 0; })] : []);

  function controls() {
    const sizes = [0, 4, 8, 16, 32].filter((size) => size < whole().rewards.length);
    const names = gapoEstimators.namesFor(whole().lengths);
    return [
      menu("group", source().groups.map((one, place) => `${place + 1}: ${{ zero: "no spread", unknown: "one reward" }[one.shape] ?? one.shape}, step ${one.step}, ${one.task}`), state.group, (value) => { state.group = value; state.from = 0; }),
      menu("estimator", names, names.indexOf(state.estimator), (value) => { state.estimator = names[value]; }),
      gapoEstimators.haveSetting.includes(state.estimator) ? slider(state.estimator === "quantile" ? "quantile" : "tau", 0.05, 1, 0.05, state.tau, (value) => { state.tau = value; }) : null,
      sizes.length > 1 ? menu("answers", sizes.map((size) => (size ? `${size} of them` : "all")), sizes.indexOf(state.size), (value) => { state.size = sizes[value]; state.from = 0; }) : null,
      state.size ? slider("from", 0, whole().rewards.length - state.size, 1, state.from, (value) => { state.from = value; }) : null,
    ];
  }

  function strip(rewards, found) {
    const low = Math.min(0, ...rewards), high = Math.max(1, ...rewards);
    const place = (value) => 16 + (value - low) / (high - low) * (WIDE - 32);
    const base = 58;
    const heights = new Map();
    const dots = rewards.map((reward, answer) => {
      const column = Math.round(place(reward) / 9);
      const height = heights.get(column) ?? 0;
      heights.set(column, height + 1);
      return element("circle", { class: sign(found.values[answer]), cx: place(reward), cy: base - 8 - height * 8, r: 4 },
        element("title", {}, `answer ${answer + 1}: reward ${number(reward)}, advantage ${number(found.values[answer])}`));
    });
    const start = Math.min(0, base - Math.max(...heights.values()) * 8 - 16);
    const made = element("svg", { class: "strip", viewBox: `0 ${start} ${WIDE} ${80 - start}`, role: "img", "aria-label": "rewards of the group" });
    if (found.low !== null) {
      made.append(element("rect", { class: "interval", x: place(found.low) - 1, y: start + 2, width: Math.max(3, place(found.high) - place(found.low) + 2), height: base - start - 2 }));
    }
    made.append(element("line", { class: "axis", x1: 16, x2: WIDE - 16, y1: base, y2: base }));
    for (const value of [0, 0.25, 0.5, 0.75, 1]) made.append(element("text", { class: "tick", x: place(value), y: base + 17, "text-anchor": "middle" }, String(value)));
    made.append(element("line", { class: "q", x1: place(found.baseline), x2: place(found.baseline), y1: start + 2, y2: base }), ...dots);
    return made;
  }

  // Answers with the same reward are one row.
  function rows(rewards, found) {
    const merged = new Map();
    rewards.forEach((reward, answer) => merged.set(reward, { advantage: found.values[answer], count: (merged.get(reward)?.count ?? 0) + 1 }));
    return [...merged.entries()].sort((a, b) => b[0] - a[0]).map(([reward, one]) => element("tr", {},
      element("th", { scope: "row" }, number(reward)), element("td", {}, String(one.count)), element("td", { class: sign(one.advantage) }, number(one.advantage))));
  }

  function show() {
    const rewards = drawn(whole().rewards);
    const found = gapoEstimators.advantages(state.estimator, rewards, state.tau, drawn(whole().lengths));
    const zero = found.values.filter((value) => value === 0).length;
    const words = [`Q ${number(found.baseline)}`, `mean ${number(rewards.reduce((total, value) => total + value, 0) / rewards.length)}`];
    if (found.low !== null) words.push(`H ${number(found.low)} to ${number(found.high)}`);
    words.push(`${zero} of ${rewards.length} advantages are 0`, `${found.values.filter((value) => value < 0).length} negative`);
    root.querySelector(".shown").replaceChildren(
      element("p", { class: "words" }, ...words.map((word) => element("span", {}, word))), strip(rewards, found),
      element("div", { class: "scroll short" }, element("table", {}, element("thead", {}, element("tr", {}, ...["reward", "answers", "advantage"].map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, ...rows(rewards, found)))));
  }

  function notes() {
    const { of, without_rewards: without, groups } = source();
    const left = of - without - groups.length;
    return [
      !groups.length ? "No group has rewards." : without ? `Not shown, since no answer has a reward: ${without} of ${of} groups.` : null,
      left ? `Not kept on this page: ${left} of ${of} groups.` : null,
    ].filter((text) => text !== null).map((text) => element("p", { class: "note" }, text));
  }

  function draw() {
    const some = source().groups.length > 0;
    if (some) fitToGroup();
    root.replaceChildren(element("div", { class: "bar" }, ...sources(), ...(some ? controls() : [])), element("div", { class: "shown" }), ...notes());
    if (some) show();
  }

  draw();
})();
