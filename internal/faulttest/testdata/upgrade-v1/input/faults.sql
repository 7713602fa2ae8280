SET max_batch_rows = 40;
SET snapshot_log_bytes = '1KiB';
SET log_segment_bytes = '12KiB';

CREATE SOURCE event (
  id BIGINT, t TIMESTAMP, kind VARCHAR, amount BIGINT, price DECIMAL(12,2),
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
) WITH (connector = 'file', path = 'events.ndjson', identity = 'content');

CREATE MATERIALIZED VIEW per_window AS
SELECT window_start, kind, count(*) AS n, sum(amount) AS amount, max(price) AS top
FROM tumble(event, t, INTERVAL '10 seconds') GROUP BY window_start, kind;

CREATE MATERIALIZED VIEW total AS
SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(price) AS price, max(t) AS last_at FROM event;

CREATE MATERIALIZED VIEW first_of AS
SELECT * FROM (SELECT kind, id, amount FROM event) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY amount, id) = 1;

CREATE MATERIALIZED VIEW dear AS
SELECT e.id, e.price, f.amount FROM event e JOIN first_of f ON e.kind = f.kind WHERE e.price > 300;

CREATE MATERIALIZED VIEW sums AS SELECT kind, sum(amount) AS amount FROM event GROUP BY kind;
CREATE SINK changes FROM sums WITH (connector = 'file', path = 'changes', format = 'csv', mode = 'changelog');
