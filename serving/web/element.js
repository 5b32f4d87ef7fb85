/**
 * Create an element.
 *
 * @param {string} name such as "p", or "svg:path" inside an svg
 * @param {object} attributes by name; functions are listeners, false and undefined are left out
 * @param {...(Node | string)} children content
 * @returns {Element}
 */
export function element(name, attributes = {}, ...children) {
  const [isSvg, plain] = name.startsWith("svg:") ? [true, name.slice(4)] : [false, name];
  const made = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", plain) : document.createElement(plain);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
