// Package http takes rows that programs POST: they are durable before the answer says so. It is the front of package
// intake, which keeps them and reads them again.
//
//	POST /v1/ingest/PIPELINE/SOURCE
//	Content-Type: application/x-ndjson | application/json | text/csv | text/plain
//	Content-Encoding: gzip                 (or none)
//	Idempotency-Key: any text up to 255    (or none)
//	Authorization: Bearer TOKEN            (where the source has one)
//
//	200 {"rows": 500, "from": 1000, "to": 1500}
//
// docs/http.md describes the request and every answer. What a body costs is bounded before it is read: its length, what it is
// unpacked to, how long it takes to arrive, and how many bytes of bodies are in memory at once.
package http
