// A user's program for the JavaScript client of 2019 (npm clarifai 2.9.1).
//
//     node clarifai_2_9_1.js CLIENT_FOLDER BASE_URL FOLDER URL
//
// Uploads, labels, lists, counts, patches and deletes inputs, makes and finds concepts, reads models. Prints one JSON
// object with what it saw.

const fs = require("fs");
const path = require("path");

const [, , home, base, folder, url] = process.argv;
const Clarifai = require(path.join(home, "node_modules/clarifai"));
const app = new Clarifai.App({ apiKey: "any-word", apiEndpoint: base });

const seen = ({ id, imageUrl, concepts, metadata }) =>
  ({ id, imageUrl, metadata, concepts: Array.from(concepts ?? [], (concept) => [concept.id, concept.value]) });
const all = (list) => Array.from(list, seen);

async function refused(promise) {
  try {
    await promise;
    return [];
  } catch (error) {
    return [error.response?.status ?? error.status, (error.response?.data ?? error.data).status.code];
  }
}

async function main() {
  const report = {};
  const [first, ...others] = fs.readdirSync(folder).sort()
    .map((name) => ({ name: path.parse(name).name, base64: fs.readFileSync(path.join(folder, name)).toString("base64") }));
  const labels = [{ id: "cat", value: true }, { id: "dog", value: false }, { id: "animal" }];
  const made = await app.inputs.create({ id: "first", base64: first.base64, concepts: labels, metadata: { a: { b: 1 } } });
  report.upload = all(made);
  report.unnamed = all(await app.inputs.create([{ base64: others[0].base64 }, { url, id: "by url" }]));
  report.counts = (await app.inputs.getStatus()).counts;
  report.got = seen(await app.inputs.get("first"));
  report.page = Array.from(await app.inputs.list({ page: 1, perPage: 2 }), ({ id }) => id);
  report.merged = all(await app.inputs.mergeConcepts([{ id: "first", concepts: [{ id: "whiskers" }] }]));
  report.removed = all(await app.inputs.deleteConcepts([{ id: "first", concepts: [{ id: "whiskers" }] }]));
  report.overwritten = all(await app.inputs.overwriteConcepts([{ id: "first", concepts: [{ id: "lion" }] }]));
  report.duplicate = await refused(app.inputs.create({ id: "first", base64: first.base64 }));
  report.concept = Array.from(await app.concepts.create([{ id: "tree", name: "A tree" }]), ({ id, name }) => [id, name]);
  report.gotConcept = (await app.concepts.get("tree")).name;
  report.concepts = Array.from(await app.concepts.list({ page: 1, perPage: 20 }), ({ id }) => id).sort();
  report.found = Array.from(await app.concepts.search("wh*"), ({ id }) => id);
  report.models = Array.from(await app.models.list({ page: 1, perPage: 20 }), ({ id }) => id);
  report.noInput = await refused(app.inputs.get("no/such thing"));
  report.noModel = await refused(app.models.get("no such model"));
  await app.inputs.delete("by url");
  report.gone = await refused(app.inputs.get("by url"));
  report.deleted = (await app.inputs.delete(["first"])).data.status.code;
  report.everything = await refused(app.inputs.delete());
  console.log(JSON.stringify(report));
}

main().catch((error) => {
  console.error(error, error.response?.data ?? error.data);
  process.exit(1);
});
