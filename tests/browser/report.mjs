// Counts tests for ./test, in the two members that it reads from every JavaScript suite. A skipped test has not passed.

export default async function* report(events) {
	let total = 0;
	let passed = 0;
	for await (const { type, data } of events) {
		if ((type !== 'test:pass' && type !== 'test:fail') || data.details?.type === 'suite') continue;
		total += 1;
		if (type === 'test:pass' && data.skip === undefined && data.todo === undefined) passed += 1;
	}
	yield JSON.stringify({ numPassedTests: passed, numTotalTests: total });
}
