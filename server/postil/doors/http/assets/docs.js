// Draws openapi.json: an index of calls, and for each call its URLs, what it takes and what it gives. Fields of
// messages are drawn when they are opened, because messages contain one another.

const API = await (await fetch("openapi.json")).json();

/** An element with a class, attributes and children; texts are never read as HTML. */
function element(tag, options = {}, ...children) {
  const { className = "", ...attributes } = options;
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The calls by name, each with all of its URLs: a call with several has one operation for each. */
function calls() {
  const found = new Map();
  for (const [path, verbs] of Object.entries(API.paths)) {
    for (const [verb, operation] of Object.entries(verbs)) {
      const [name, place = "1"] = operation.operationId.split("_");
      const call = found.get(name) ?? { name, urls: [] };
      found.set(name, call);
      call.urls[Number(place) - 1] = { verb, path };
      if (place === "1") call.operation = operation;
    }
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
}

/** A message or enum by reference. */
const named = (schema) => API.components.schemas[schema.$ref.split("/").pop()];

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.type === "array") return `list of ${typeName(schema.items)}`;
  if (schema.additionalProperties) return `map to ${typeName(schema.additionalProperties)}`;
  return [schema.type ?? "any JSON value", schema.format ?? schema.contentEncoding].filter(Boolean).join(", ");
}

/** The schema whose inside is worth opening, if there is one. */
function inner(schema) {
  if (schema.$ref) return schema;
  return schema.items ? inner(schema.items) : schema.additionalProperties ? inner(schema.additionalProperties) : null;
}

function field(name, schema, description) {
  const normal = schema.default === undefined ? "" : `, when absent ${schema.default}`;
  const parts = [
    element("dt", {}, element("code", {}, name), element("span", { className: "type" }, typeName(schema) + normal)),
    element("dd", {}, description ?? ""),
  ];
  const within = inner(schema);
  if (within) parts.push(element("dd", {}, opened(typeName(within), () => body(named(within)))));
  return parts;
}

/** What a message or an enum holds. */
function body(schema) {
  if (!schema.properties) return element("p", {}, schema.description);
  const list = element("dl");
  for (const [name, one] of Object.entries(schema.properties)) list.append(...field(name, one, one.description));
  return list;
}

/** A fold whose content is made when it is first opened. */
function opened(title, make) {
  const fold = element("details", {}, element("summary", {}, title));
  fold.addEventListener("toggle", () => fold.open && fold.childElementCount === 1 && fold.append(make()));
  return fold;
}

function sample({ verb, path }, operation) {
  const lines = [`curl -X ${verb.toUpperCase()} '${location.origin}${path}'`, `  -H 'Authorization: Key YOUR_KEY'`];
  if (operation.requestBody) lines.push(`  -H 'Content-Type: application/json'`, `  -d '{}'`);
  return element("pre", {}, lines.join(" \\\n"));
}

function card({ name, urls, operation }) {
  const shown = urls.map(({ verb, path }) =>
    element("div", { className: "url" }, element("span", { className: `verb ${verb}` }, verb.toUpperCase()),
      element("code", {}, path)));
  const parameters = element("dl");
  for (const one of operation.parameters) parameters.append(...field(one.name, one.schema, one.description));
  const parts = [element("h3", {}, element("a", { href: `#${name}` }, name)), element("p", {}, operation.description)];
  parts.push(...shown, opened("curl", () => sample(urls.at(-1), operation)));
  if (operation.parameters.length) parts.push(opened("Parameters", () => parameters));
  const bodyOf = (part) => part.content["application/json"].schema;
  if (operation.requestBody) parts.push(opened("Request body", () => body(named(bodyOf(operation.requestBody)))));
  parts.push(opened("Reply", () => body(named(bodyOf(operation.responses["200"])))));
  return element("article", { id: name }, ...parts);
}

function draw() {
  const every = calls();
  document.getElementById("about").append(API.info.description);
  for (const { name: tag, description } of API.tags) {
    const those = every.filter((call) => call.operation.tags.includes(tag));
    document.getElementById("index").append(
      element("h2", {}, tag), ...those.map(({ name }) => element("a", { href: `#${name}` }, name)));
    document.getElementById("calls").append(
      element("h2", {}, tag), element("p", {}, description), ...those.map(card));
  }
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  const keep = (name) => name.toLowerCase().includes(wanted);
  for (const link of document.querySelectorAll("#index a")) link.hidden = !keep(link.textContent);
  for (const article of document.querySelectorAll("article")) article.hidden = !keep(article.id);
  for (const title of document.querySelectorAll("#index h2")) {
    let next = title.nextElementSibling;
    while (next?.tagName === "A" && next.hidden) next = next.nextElementSibling;
    title.hidden = next?.tagName !== "A";
  }
}

draw();
document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
