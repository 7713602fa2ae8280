-- Nexmark 12, processing-time windows: how many bids each user made in each ten seconds.
-- Class: incremental.
-- Differs: the processing time is that of the row's batch, which is in the log, so that a batch that is executed
-- again gives the same rows; and windows are shown as they fill, where the reference shows them when they close.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  p_time TIMESTAMP METADATA FROM 'batch_time',
  WATERMARK FOR p_time AS p_time
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q12 AS
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM tumble(bid, p_time, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end;
