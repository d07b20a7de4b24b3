-- Agreement of two sources, counted from the tables of a run, beside what the report says. In the folder of the tables:
--   duckdb < agreement.sql
set variable candidate = 'ratio';
set variable reference = 'reader:A';

with pairs as (
    select c.score - r.score as difference
    from 'participants.parquet' p
    join 'scores.parquet' c using (participant_id)
    join 'scores.parquet' r using (participant_id)
    where p.is_measured
      and c.source = getvariable('candidate') and c.status = 'ok' and c.score is not null
      and r.source = getvariable('reference') and r.status = 'ok' and r.score is not null
),
counted as (
    select
        count(*) as n,
        avg((difference = 0)::int) as exact,
        avg(difference) as bias,
        avg(difference) - 1.96 * stddev_samp(difference) as loa_lower,
        avg(difference) + 1.96 * stddev_samp(difference) as loa_upper
    from pairs
)
select counted.quantity, counted.n, counted.value, s.n as n_in_report, s.estimate as in_report
from (unpivot counted on exact, bias, loa_lower, loa_upper into name quantity value value) counted
left join 'statistics.parquet' s
  on s.statistic_id = concat_ws('/', 'agreement', counted.quantity, getvariable('candidate'), getvariable('reference'),
                                'measured')
order by counted.quantity;
