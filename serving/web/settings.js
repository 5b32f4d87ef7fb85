/** What the page remembers, where it may remember anything. */

/** @returns {string} "en" or "es": as chosen, else as the browser prefers */
export function language() {
  return read("language") ?? (navigator.language.startsWith("es") ? "es" : "en");
}

/** @returns {boolean} whether songs stay on this computer */
export function local() {
  return read("local") === "yes";
}

/**
 * Remember a value.
 *
 * @param {"language" | "local"} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`tumbao.${name}`, value);
  } catch {
    // not allowed: forgotten with the page
  }
}

function read(name) {
  try {
    return localStorage.getItem(`tumbao.${name}`);
  } catch {
    return null;
  }
}
