// A user's program for the JavaScript client of 2019 (npm clarifai 2.9.1): a model from labels to ranks.
//
//     node train_2_9_1.js CLIENT_FOLDER BASE_URL FOLDER
//
// Prints one JSON object.

const fs = require("fs");
const path = require("path");

const [, , home, base, folder] = process.argv;
const Clarifai = require(path.join(home, "node_modules/clarifai"));
const app = new Clarifai.App({ apiKey: "any-word", apiEndpoint: base });

async function main() {
  const pictures = fs.readdirSync(folder).sort()
    .map((name) => ({ name: path.parse(name).name, base64: fs.readFileSync(path.join(folder, name)).toString("base64") }));
  for (const { name, base64 } of pictures) {
    await app.inputs.create({ id: name, base64, concepts: [{ id: `my ${name}`, value: true }] });
  }
  while ((await app.inputs.getStatus()).counts.to_process) {
    await new Promise((done) => setTimeout(done, 100));
  }
  const model = await app.models.create("mine", pictures.map(({ name }) => ({ id: `my ${name}` })));
  const before = model.modelVersion.status.code;
  const trained = await model.train(true);
  const reply = await trained.predict(pictures.map(({ base64 }) => ({ base64 })));
  const found = await app.inputs.search({ concept: { id: "my chelsea" } });
  console.log(JSON.stringify({
    states: [before, trained.modelVersion.status.code],
    said: Object.fromEntries(reply.outputs.map((output, at) => [pictures[at].name, output.data.concepts[0].id])),
    rank: found.hits.map((hit) => hit.input.id),
  }));
}

main().catch((error) => {
  console.error(error?.data ?? error?.response?.data ?? error);
  process.exit(1);
});
