/** The keys that work everywhere in the window. The dialog in index.html tells them. */

/**
 * @param {object} does
 * @param {(isUnread: boolean) => void} does.previousRoom
 * @param {(isUnread: boolean) => void} does.nextRoom
 * @param {() => void} does.joinRoom
 * @param {() => void} does.write
 * @param {() => void} does.help
 */
export function listenToKeys(does) {
  addEventListener('keydown', (event) => {
    if (event.isComposing || event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const isControl = (event.ctrlKey || event.metaKey) && !event.altKey;
    const isAlt = event.altKey && !event.ctrlKey && !event.metaKey;
    if (isAlt && event.key === 'ArrowUp') does.previousRoom(event.shiftKey);
    else if (isAlt && event.key === 'ArrowDown') does.nextRoom(event.shiftKey);
    else if (isControl && event.key.toLowerCase() === 'k') does.joinRoom();
    else if (isControl && event.key === '/') does.help();
    else if (event.key === 'Escape' && !isControl && !isAlt) does.write();
    else return;
    event.preventDefault();
  });
}
