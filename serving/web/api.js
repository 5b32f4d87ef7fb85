/** Classification on the server. */

/** An error of the API; `reason` is its identifier, `message` the continuation of the file's name, in English. */
export class ApiError extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/**
 * Classify a song on the server.
 *
 * @param {File} file the song
 * @returns {Promise<object>} the API's `ClassifiedFile`
 * @throws {ApiError} if the request fails
 */
export async function ask(file) {
  const form = new FormData();
  form.append("files", file, file.name);
  const response = await fetch("v1/classify", { method: "POST", body: form }).catch(() => {
    throw new ApiError("network");
  });
  const result = await response.json().catch(() => ({ error: { reason: response.status === 413 ? "too large" : "other" } }));
  if (result.error) throw new ApiError(result.error.reason, result.error.message);
  return result.files[0];
}
