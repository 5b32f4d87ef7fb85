/** The server's answer for a song. */

/** Why there is none; `reason` is for programs, `message` the continuation of the file's name, in English. */
export class Refusal extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/**
 * Ask the server.
 *
 * @param {File} file the song
 * @returns {Promise<object>} the API's `Answered`
 * @throws {Refusal} if there is no answer
 */
export async function ask(file) {
  const form = new FormData();
  form.append("files", file, file.name);
  const response = await fetch("v1/classify", { method: "POST", body: form }).catch(() => {
    throw new Refusal("network");
  });
  const said = await response.json().catch(() => ({ error: { reason: response.status === 413 ? "too large" : "other" } }));
  if (said.error) throw new Refusal(said.error.reason, said.error.message);
  return said.files[0];
}
