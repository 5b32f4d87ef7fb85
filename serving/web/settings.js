/** Settings that the page stores, if the browser permits it. */

/** @returns {string} "en" or "es": as selected, else the preference of the browser */
export function language() {
  return read("language") ?? (navigator.language.startsWith("es") ? "es" : "en");
}

/** @returns {boolean} whether songs are classified in this browser */
export function local() {
  return read("local") === "yes";
}

/**
 * Store a value.
 *
 * @param {"language" | "local"} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`tumbao.${name}`, value);
  } catch {
    // storage is not permitted
  }
}

function read(name) {
  try {
    return localStorage.getItem(`tumbao.${name}`);
  } catch {
    return null;
  }
}
