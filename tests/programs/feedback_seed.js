// A user's program for npm clarifai 2.9.1: every sample of the documentation's page on feedback. Only the host differs.
//
//     feedback_seed.js CLIENT_FOLDER BASE_URL INPUT_ID OUTPUT_ID SEARCH_ID END_USER_ID SESSION_ID
//
// Prints one JSON object with the status of each reply.

const path = require("path");

const [, , home, base, inputId, outputId, searchId, endUserId, sessionId] = process.argv;
const Clarifai = require(path.join(home, "node_modules/clarifai"));
const app = new Clarifai.App({ apiKey: "YOUR_API_KEY", apiEndpoint: base });
const info = { eventType: "annotation", outputId, endUserId, sessionId };

const box = { top_row: 0.3, left_col: 0.2, bottom_row: 0.7, right_col: 0.8 };
const region = {
  region_info: { bounding_box: box, feedback: "accurate" },
  data: { concepts: [{ id: "ai_TG4GHlnf", value: true }] },
};

async function main() {
  const concepts = [{ id: "ai_8S2Vq3cR", value: true }, { id: "ai_mFqxrph2", value: false }];
  const replies = {
    concepts: await app.models.feedback(Clarifai.GENERAL_MODEL, "https://samples.clarifai.com/dog.tiff", {
      id: inputId, data: { concepts }, info,
    }),
    regions: await app.models.feedback(Clarifai.LOGO_MODEL, "https://clarifai.com/images/model-samples/logo-002.jpg", {
      id: inputId, data: { regions: [region] }, info,
    }),
    search: await app.inputs.searchFeedback(inputId, searchId, endUserId, sessionId),
  };
  const status = ([name, reply]) => [name, (reply.data ?? reply).status];
  console.log(JSON.stringify(Object.fromEntries(Object.entries(replies).map(status))));
}

main().catch((error) => {
  console.error(error, error.response?.data ?? error.data);
  process.exit(1);
});
