// The commands that ES-PUSH firmware understands; other devices may implement any of them.

export type Verb = 'status' | 'gpio.read' | 'gpio.write' | 'at' | 'lua' | 'custom' | 'probe' | 'reboot';

/** Commands that carry nothing. */
export const BARE: readonly Verb[] = ['gpio.read', 'probe', 'reboot'];
