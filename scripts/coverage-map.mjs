// tap asks for each test file which files it may cover: the sources of the package it is in. Other packages come in as
// built files from their `dist` and are measured by their own tests; helpers in `test` are no product code.
export default () => ['src/**/*.ts'];
