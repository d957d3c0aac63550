/** What is asked and told in passing: a question before something is destroyed, a word after something was done. */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/**
 * @param {string} title  what is to be done, with how many of what
 * @param {string} text  what that means
 * @param {string} action  what the button says
 * @returns {Promise<boolean>}
 */
export function sure(title, text, action) {
  const dialog = $('#confirm');
  $('#confirm-title').textContent = title;
  $('#confirm-text').textContent = text;
  $('#confirm-yes').textContent = action;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let over;

/** @param {string} text @param {boolean} [isBad] */
export function say(text, isBad = false) {
  const toast = $('#toast');
  toast.textContent = text;
  toast.className = isBad ? 'bad' : '';
  toast.hidden = false;
  clearTimeout(over);
  over = setTimeout(() => {
    toast.hidden = true;
  }, isBad ? 8000 : 4000);
}

/** Does something and says what came of it. @param {() => Promise<string | null>} work */
export async function doing(work) {
  try {
    const text = await work();
    if (text) say(text);
    return true;
  } catch (error) {
    say(/** @type {Error} */ (error).message, true);
    return false;
  }
}
