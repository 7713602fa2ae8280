-- Tumbling windows, updated with every batch; late rows are left out on both sides of the comparison.
CREATE SOURCE orders (
  id BIGINT, customer VARCHAR, placed TIMESTAMP, paid BOOLEAN, discount DOUBLE, tags VARCHAR[],
  lines STRUCT(item VARCHAR, qty INTEGER, price DECIMAL(9, 2))[],
  WATERMARK FOR placed AS placed - INTERVAL '30 seconds'
) WITH (connector = 'file', path = '../testdata/orders.ndjson');

CREATE MATERIALIZED VIEW per_minute AS
SELECT window_start, window_end, count(*) AS orders, count(customer) AS named, sum(len(lines)) AS lines, max(placed) AS last
FROM tumble(orders, placed, INTERVAL '1 minute')
GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW per_customer_quarter AS
SELECT window_start, customer, count(*) AS orders, count(*) FILTER (WHERE paid) AS paid
FROM tumble(orders, placed, INTERVAL '15 minutes')
GROUP BY window_start, customer;
