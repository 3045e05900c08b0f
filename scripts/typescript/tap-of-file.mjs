// What `import t from 'tap'` gives a test file in a process that it shares with others: see register-shared.mjs. Each file has its own
// copy of this module, so the test of the file that is imported now is passed on globalThis.
export default globalThis[Symbol.for('arc-threads.test-of-file')];
