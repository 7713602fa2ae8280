-- Bids by auction in tumbling and sliding windows; the first half of Nexmark 5.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 20000, event_rate = 500);

CREATE MATERIALIZED VIEW per_auction AS
SELECT window_start, auction, count(*) AS bids, sum(price) AS turnover, max(price) AS highest
FROM tumble(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_start, auction;

CREATE MATERIALIZED VIEW hot_items AS
SELECT window_start, window_end, auction, count(*) AS bids
FROM hop(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
GROUP BY window_start, window_end, auction;

-- The highest price of each window, which is what Nexmark 7 joins back to the bids.
CREATE MATERIALIZED VIEW highest_bid AS
SELECT window_end, max(price) AS price
FROM tumble(bid, date_time, INTERVAL '10 seconds')
GROUP BY window_end;
