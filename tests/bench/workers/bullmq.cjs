// SPDX-License-Identifier: Apache-2.0
// What BullMQ does with jobs of 512 bytes and a worker that does nothing: a yardstick of tests/bench/redis.py.
//
//   node bullmq.cjs FOLDER SOCKET N CONCURRENCY     FOLDER has node_modules; prints jobs a second and CPU s a million
const [folder, path, n, concurrency] = process.argv.slice(2);
const { createRequire } = require("module");
const { Queue, Worker } = createRequire(`${folder}/`)("bullmq");
const connection = { path, maxRetriesPerRequest: null };
const total = Number(n);

async function main() {
	const queue = new Queue("bench", { connection });

	for (let i = 0; i < total; i += 500)
		await queue.addBulk(Array.from({ length: Math.min(500, total - i) }, (_, k) => ({
			name: `T${(i + k) % 10}`,
			data: { n: i + k, total: 100 + (k % 900), pad: "x".repeat(440) },
			opts: { removeOnComplete: true },
		})));
	const began = process.hrtime.bigint(), cpu = process.cpuUsage();
	let done = 0;
	await new Promise((all) => {
		const worker = new Worker("bench", async () => {}, { connection, concurrency: Number(concurrency) });
		worker.on("completed", () => ++done === total && all());
	});
	const seconds = Number(process.hrtime.bigint() - began) / 1e9, used = process.cpuUsage(cpu);
	console.log(`${(total / seconds).toFixed(0)} ${((used.user + used.system) / total).toFixed(3)}`);
	process.exit(0);
}

main();
