// Copying to the clipboard, also where the page came over plain HTTP: there browsers hide the clipboard API.

/** Copies `text`; `near` is an element of the open dialog, if any. Answers whether it worked. */
export async function copy(text: string, near: HTMLElement): Promise<boolean> {
	if (navigator.clipboard) {
		try {
			await navigator.clipboard.writeText(text);
			return true;
		} catch {
			// Not allowed just now; the old way may still be.
		}
	}
	const area = document.createElement('textarea');
	area.value = text;
	area.readOnly = true;
	area.className = 'fixed top-0 left-0 opacity-0';
	// A modal dialog makes everything outside it inert, so the text must stand inside.
	(near.closest('dialog') ?? document.body).append(area);
	area.select();
	const done = document.execCommand('copy');
	area.remove();
	near.focus();
	return done;
}
