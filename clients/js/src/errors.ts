// What goes wrong.

/** Anything that goes wrong here. */
export class EspushError extends Error {
  override name = 'EspushError';
}

/** Nobody answered, or what answered is no espush. */
export class Unreachable extends EspushError {
  override name = 'Unreachable';
}

/** The answer did not come in time. What was asked may have been done all the same. */
export class TimedOut extends Unreachable {
  override name = 'TimedOut';
}

/** The server refused (RFC 9457). `code` is a word that stays: docs/en/api.md of espush lists them all. */
export class Problem extends EspushError {
  override name = 'Problem';

  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly hint?: string,
    readonly position?: number,
  ) {
    super(hint ? `${detail} (${hint})` : detail);
  }
}

/** The error that an answer tells of. */
export function problem(status: number, body: string): EspushError {
  try {
    const told = JSON.parse(body);
    if (typeof told.code === 'string' && typeof told.detail === 'string') {
      return new Problem(status, told.code, told.detail, told.hint, told.position);
    }
  } catch {
    // No JSON, or none of an object.
  }
  return new Unreachable(`the server answered ${status}, and not as espush does`);
}

/** The error that stands for a failed `fetch`. */
export function named(error: unknown): unknown {
  if (error instanceof EspushError) return error;
  if (error instanceof DOMException && error.name === 'TimeoutError') return new TimedOut('no answer in time', { cause: error });
  // `fetch` says that somebody hung up, or that nobody was there, with a TypeError.
  if (error instanceof TypeError) return new Unreachable(`the server cannot be reached: ${error.message}`, { cause: error });
  return error;
}
