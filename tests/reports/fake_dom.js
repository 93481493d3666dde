"use strict";
// Runs the scripts of the laboratory's page without a browser: node fake_dom.js PAGE. Choices come as JSON, a list of [label, value],
// and what is shown at first and after each of them goes out as JSON. As much of a document as those scripts use.
const fs = require("fs");

class Node {
  constructor(name) { this.name = name; this.attributes = {}; this.children = []; }
  setAttribute(key, value) { this.attributes[key] = String(value); }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  get textContent() { return this.children.map((child) => child.textContent ?? child).join(""); }
  set textContent(text) { this.children = [text]; }
  find(holds) { return [...(holds(this) ? [this] : []), ...this.children.flatMap((child) => child.find?.(holds) ?? [])]; }
  querySelector(selector) { return this.find((node) => `.${node.attributes.class}` === selector)[0]; }
}

const page = fs.readFileSync(process.argv[2], "utf8");
const [data, code] = [/<script type="application\/json" id="lab-data">([^]*?)<\/script>/, /<script>([^]*?)<\/script>/].map((part) => page.match(part)[1]);
const nodes = { "lab-data": new Node("script"), browser: new Node("div") };
nodes["lab-data"].textContent = data;
global.document = { getElementById: (id) => nodes[id], createElement: (name) => new Node(name), createElementNS: (_, name) => new Node(name) };
new Function(code)();

const labelled = (label) => nodes.browser.find((node) => node.attributes["aria-label"] === label)[0];

function shown() {
  const of = (holds) => nodes.browser.find(holds).map((node) => node.textContent);
  const controls = nodes.browser.find((node) => ["select", "input"].includes(node.name));
  return {
    notes: of((node) => node.attributes.class === "note"),
    words: nodes.browser.find((node) => node.attributes.class === "words").flatMap((node) => node.children.map((child) => child.textContent)),
    rows: nodes.browser.find((node) => node.name === "tr").slice(1).map((row) => row.children.map((cell) => Number(cell.textContent))),
    controls: Object.fromEntries(controls.map((node) => [node.attributes["aria-label"], node.name === "select" ? node.children.map((option) => option.textContent) : Number(node.attributes.max)])),
  };
}

const seen = [shown()];
for (const [label, value] of JSON.parse(fs.readFileSync(0, "utf8"))) {
  const control = labelled(label);
  const place = control.name === "select" ? control.children.findIndex((option) => option.textContent === value || option.attributes.value === String(value)) : value;
  (control.onchange ?? control.oninput)({ target: { value: String(place) } });
  seen.push(shown());
}
console.log(JSON.stringify(seen));
