// A user's program for npm clarifai-nodejs-grpc: every search of the documentation's page on ranks, in the callback
// style that it uses. Only the channel is the user's own.
//
//     rank_seed.js HOST:PORT PICTURE_URL PICTURE_FILE INPUT_ID
//
// Prints one JSON object: for each search its status code and its hits.

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const {ClarifaiStub} = require("clarifai-nodejs-grpc");

const [address, url, file, inputId] = process.argv.slice(2);
const V2 = ClarifaiStub.grpc("localhost:1").constructor; // the published stub's class, for a channel without TLS
const stub = new V2(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", "Key any-word");

const concept = (fields) => ({annotation: {data: {concepts: [fields]}}});
const SEARCHES = {
    custom: [concept({id: "people", value: 1})],
    by_name: [concept({name: "people", value: 1})],
    two_custom: [concept({id: "people", value: 1}), concept({id: "cat", value: 1})],
    labelled_and_not_predicted: [concept({id: "cat", value: 1}), concept({id: "dog", value: 0})],
    japanese: [concept({name: "犬", language: "ja", value: 1})],
    url: [{annotation: {data: {image: {url: url}}}}],
    bytes: [{annotation: {data: {image: {base64: fs.readFileSync(file)}}}}],
    input: [{annotation: {input_id: inputId}}],
};

const run = (ranks) => new Promise((resolve, reject) => {
    stub.PostAnnotationsSearches({searches: [{query: {ranks: ranks}}]}, metadata, (err, response) => {
        if (err) return reject(err);
        resolve({
            code: response.status.code,
            details: response.status.details,
            hits: response.hits.map((hit) => ({score: hit.score, input: hit.input.id, annotation: hit.annotation.id})),
        });
    });
});

(async () => {
    const report = {};
    for (const [name, ranks] of Object.entries(SEARCHES)) report[name] = await run(ranks);
    console.log(JSON.stringify(report));
    process.exit(0);
})().catch((err) => { console.error(err); process.exit(1); });
