/** The two dialogs: one that asks before something cannot be undone, one that tells the keys. */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/**
 * @param {string} question @param {string} action  what the button says
 * @returns {Promise<boolean>} whether it was confirmed
 */
export function confirmed(question, action) {
  const dialog = $('#confirm');
  $('#confirm-text').textContent = question;
  $('#confirm-yes').textContent = action;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

export function showKeys() {
  if (!$('#keys').open) $('#keys').showModal();
}

for (const dialog of document.querySelectorAll('dialog')) {
  dialog.addEventListener('click', (event) => {
    const button = /** @type {Element} */ (event.target).closest('button');
    // Beside the dialog is its backdrop.
    if (button) dialog.close(button.value);
    else if (event.target === dialog) dialog.close('');
  });
}
