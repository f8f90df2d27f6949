// What goes wrong beside a call. An address that is no page is a reader's mistake, and the page for it says so; the rest
// is told to the browser's console.
import type { HandleClientError } from '@sveltejs/kit';

export const handleError: HandleClientError = ({ error, status, message }) => {
	if (status !== 404) console.error(error);
	return { message };
};
