// Quoting for what people paste: shells, Python, C, Lua-like strings. Wrong quoting is a bug a beginner cannot find.

/** One word for a POSIX shell. */
export function shell(word: string): string {
	return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A double-quoted literal that C, C++ and Python read alike (ids, secrets and host names are ASCII). */
export function literal(text: string): string {
	return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
