-- Nexmark 10, log to files: every bid, in a partition for its day and minute.
-- Class: incremental.
-- Differs: the view goes to a table with the partition in two columns; the reference writes partitioned files,
-- for which there is no sink yet.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 20);

CREATE MATERIALIZED VIEW q10 AS
SELECT auction, bidder, price, date_time, extra, strftime(date_time, '%Y-%m-%d') AS dt, strftime(date_time, '%H:%M') AS hm
FROM bid;
