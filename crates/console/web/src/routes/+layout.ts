// Everything runs in the browser: the files are static and the data is the signed-in reader's.
export const ssr = false;
