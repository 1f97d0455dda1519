// A user's program for the JavaScript client of 2019 (npm clarifai 2.9.1): searches and predictions.
//
//     node search_2_9_1.js CLIENT_FOLDER BASE_URL FOLDER URL
//
// Uploads the pictures of FOLDER and the one at URL, finds them by every search the client has, and predicts by every way
// it has to name a model and a picture. Deletes everything at the end. Prints one JSON object with what it saw.

const fs = require("fs");
const path = require("path");

const [, , home, base, folder, url] = process.argv;
const Clarifai = require(path.join(home, "node_modules/clarifai"));
const app = new Clarifai.App({ apiKey: "any-word", apiEndpoint: base });

const GENERAL = "aaa03c23b3724a16a56b629203edc62c";
const LABELS = {
  chelsea: [{ id: "cat" }, { id: "animal", value: true }, { id: "dog", value: false }],
  coffee: [{ id: "cup" }, { id: "cat", value: false }],
  rocket: [{ id: "rocket" }, { id: "cat", value: false }],
};
const PLACES = { chelsea: [40.7, -73.9], coffee: [48.8, 2.3], rocket: [28.4, -80.6] };

async function upload() {
  for (const name of fs.readdirSync(folder).sort()) {
    const id = path.parse(name).name;
    const [latitude, longitude] = PLACES[id];
    const base64 = fs.readFileSync(path.join(folder, name)).toString("base64");
    await app.inputs.create({
      id, base64, concepts: LABELS[id], geo: { latitude, longitude }, metadata: { name: id, shelf: { row: id.length } },
    });
  }
  await app.inputs.create({ id: "by-url", url });
  while ((await app.inputs.getStatus()).counts.to_process) await new Promise((done) => setTimeout(done, 100));
}

async function found(query, options) {
  return (await app.inputs.search(query, options)).hits.map((hit) => hit.input.id);
}

async function byImage(cat) {
  const all = await app.inputs.search({ input: { id: "chelsea" } });
  return {
    "by id": await found({ input: { id: "chelsea" } }),
    "by url": await found({ input: { url } }),
    "by base64": await found({ input: { base64: cat } }),
    cropped: await found({ input: { url, crop: [0, 0, 1, 1] } }),
    "two pictures": await found([{ input: { id: "chelsea" } }, { input: { id: "coffee" } }]),
    scores: all.hits.map((hit) => hit.score),
    "second page": await found({ input: { id: "chelsea" } }, { page: 2, perPage: 2 }),
  };
}

async function byWhatIsSaid() {
  const near = { latitude: 40.7, longitude: -73.9, type: "withinKilometers" };
  const box = [{ latitude: 45, longitude: 0 }, { latitude: 50, longitude: 10 }];
  return {
    "original url": await found({ input: { type: "input", url } }),
    labelled: await found({ concept: { id: "cat", type: "input" } }),
    "labelled by name": await found({ concept: { name: "animal", type: "input" } }),
    "labelled absent": (await found({ concept: { id: "cat", type: "input", value: false } })).sort(),
    "labelled both": await found([
      { concept: { id: "cup", type: "input" } }, { concept: { id: "cat", type: "input", value: false } },
    ]),
    metadata: await found({ input: { metadata: { name: "coffee" } } }),
    nested: await found({ input: { metadata: { shelf: { row: 7 } } } }),
    "no metadata": await found({ input: { metadata: { name: "tea" } } }),
    near: await found({ input: { geo: { ...near, value: 10 } } }),
    far: (await found({ input: { geo: { ...near, value: 3000 } } })).sort(),
    box: await found({ input: { geo: box } }),
  };
}

async function byPrediction() {
  return {
    predicted: await found({ concept: { name: "cat" } }),
    "predicted id": await found({ concept: "cat" }),
    "predicted absent": await found({ concept: { id: "cat", value: false } }),
    "predicted both": await found([{ concept: { name: "cup" } }, { concept: { name: "cat", value: false } }]),
  };
}

async function predictions(cat) {
  const byName = { name: "general-v1.3" };
  const general = await app.models.initModel({ name: "general-v1.3" });
  const replies = {
    url: await app.models.predict(byName, url),
    base64: await app.models.predict(byName, { base64: cat }),
    id: await app.models.predict(GENERAL, url),
    "public": await app.models.predict(Clarifai.GENERAL_MODEL, url),
    "today's id": await app.models.predict("general-image-recognition", url),
    model: await general.predict(url),
    several: await app.models.predict(GENERAL, [{ base64: cat }, { url }]),
    few: await app.models.predict(GENERAL, url, { maxConcepts: 2 }),
    sure: await app.models.predict(GENERAL, url, { minValue: 0.2 }),
    chosen: await app.models.predict(GENERAL, url, { selectConcepts: [{ id: "cat" }, { id: "dog" }] }),
  };
  const concepts = (output) => output.data.concepts.map(({ id, value }) => [id, value]);
  const embedding = await app.models.predict("general-image-embedding", url);
  return {
    ...Object.fromEntries(Object.entries(replies).map(([name, reply]) => [name, reply.outputs.map(concepts)])),
    embedding: embedding.outputs[0].data.embeddings[0].vector.length,
  };
}

async function refused(promise) {
  try {
    await promise;
    return [];
  } catch (error) {
    return [error.response?.status ?? error.status, (error.response?.data ?? error.data).status.code];
  }
}

async function main() {
  const cat = fs.readFileSync(path.join(folder, "chelsea.png")).toString("base64");
  await upload();
  console.log(JSON.stringify({
    image: await byImage(cat),
    said: await byWhatIsSaid(),
    prediction: await byPrediction(),
    combined: await found([
      { input: { id: "chelsea", metadata: { name: "coffee" } } }, { concept: { id: "cat", type: "input", value: false } },
    ]),
    predictions: await predictions(cat),
    "no model": await refused(app.models.predict("no-such-model", url)),
    "no input": await refused(app.inputs.search({ input: { id: "no-such-input" } })),
    everything: (await app.inputs.delete()).data.status.code,
    left: Array.from(await app.inputs.list(), ({ id }) => id),
    "no models": (await app.models.delete()).status.code,
  }));
}

main().catch((error) => {
  console.error(error, error.response?.data ?? error.data);
  process.exit(1);
});
