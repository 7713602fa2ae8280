-- Nexmark 12, processing-time windows: how many bids each user made in each ten seconds.
-- Class: incremental.
-- Differs: the windows are of event time. The reference's are of processing time, and clocks are refused here,
-- because a batch that is executed again must give the same rows.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q12 AS
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM tumble(bid, date_time, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end;
