-- Nexmark 10, log to files: every bid, in a partition for its day and minute.
-- Class: incremental.
-- Differs: the reference commits a partition when the watermark has passed it; here every batch is committed as a
-- directory of its own, with the partitions below it, so that each row can be read once and as soon as it is committed.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 20);

CREATE MATERIALIZED VIEW q10 AS
SELECT auction, bidder, price, date_time, extra, strftime(date_time, '%Y-%m-%d') AS dt, strftime(date_time, '%H:%M') AS hm
FROM bid;

CREATE SINK log FROM q10 WITH (connector = 'file', path = 'q10', format = 'csv', partition_by = 'dt, hm');
