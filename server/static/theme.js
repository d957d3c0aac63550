// Before the page is drawn, so that it does not flash: the light or dark that was chosen, if any.
// Without a choice the system's stands. A classic script on purpose: modules run later.
{
  const KEY = 'rhubarb.theme';
  const NAMES = { '': 'as the system', light: 'light', dark: 'dark' };
  const ORDER = ['', 'light', 'dark'];
  const root = document.documentElement;

  const chosen = () => {
    try {
      return ORDER.includes(localStorage.getItem(KEY) ?? '') ? localStorage.getItem(KEY) ?? '' : '';
    } catch {
      return root.dataset.theme ?? '';
    }
  };
  const apply = (/** @type {string} */ theme) => {
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll('#theme')) {
      const text = `Colours: ${NAMES[/** @type {keyof NAMES} */ (theme)]}`;
      button.setAttribute('aria-label', text);
      button.setAttribute('title', text);
    }
  };

  apply(chosen());
  document.addEventListener('DOMContentLoaded', () => {
    apply(chosen());
    document.querySelector('#theme')?.addEventListener('click', () => {
      const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? '') + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // for this visit only
      }
      apply(next);
    });
  });
}
