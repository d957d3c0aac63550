/** The types say what the library has, by name. */

import * as library from '../../server/static/rhubarb.js';
import { Room } from '../../server/static/rhubarb/room.js';
import { equal, test } from './testing.mjs';

const types = await read('../../server/static/rhubarb.d.ts');

/** @param {string} path */
async function read(path) {
  const url = new URL(path, import.meta.url);
  if (!globalThis.process) return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // `fetch` reads no files
    request.open('GET', url);
    request.onload = () => resolve(request.responseText);
    request.send();
  });
  const { readFile } = await import('node:fs/promises');
  return readFile(url, 'utf8');
}

/** The names in a class or interface of the types. @param {string} name */
function typed(name) {
  const body = types.split(new RegExp(`export (?:declare class|interface) ${name}\\b[^{]*\\{`))[1].split('\n}')[0];
  const members = body.matchAll(/^ {2}(?:readonly )?(\w+)[?(:<]/gm);
  return new Set([...members].map(([, member]) => member).filter((member) => member !== 'constructor'));
}

/** The names that a class has for its users, inherited ones included. @param {any} Class */
function had(Class) {
  const names = [];
  for (let at = Class.prototype; at && at !== Object.prototype && at !== Error.prototype; at = Object.getPrototypeOf(at)) {
    names.push(...Object.getOwnPropertyNames(at));
  }
  return new Set(names.filter((name) => name !== 'constructor' && !name.startsWith('_')));
}

test('every export is typed, and nothing else', () => {
  const declared = [...types.matchAll(/export declare (?:class|function) (\w+)/g)].map(([, name]) => name);

  equal(declared.sort(), Object.keys(library).sort());
});

for (const [name, Class, fields] of /** @type {[string, any, string[]][]} */ ([
  ['Rhubarb', library.Rhubarb, ['rooms']],
  ['Room', Room, ['state', 'error', 'members', 'pinned']],
  ['RhubarbError', library.RhubarbError, ['code', 'retryAfterMs']],
])) {
  test(`what a ${name} has is typed, and nothing else`, () => {
    equal([...typed(name)].sort(), [...had(Class), ...fields].sort());
  });
}
