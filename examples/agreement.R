# Agreement of two sources, counted from the tables of a run, beside what the report says.
#   Rscript agreement.R TABLES REFERENCE CANDIDATE      such as out/results/latest/tables reader:A ratio
# It reads Parquet by the package nanoparquet where that is installed, else the TSV twins, which need no package.

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
reference <- arguments[2]
candidate <- arguments[3]
has_parquet <- requireNamespace("nanoparquet", quietly = TRUE)
read <- function(name) {
  path <- file.path(folder, paste0(name, if (has_parquet) ".parquet" else ".tsv"))
  if (has_parquet) as.data.frame(nanoparquet::read_parquet(path)) else read.delim(path, na.strings = "n/a", quote = "")
}

people <- read("participants")
scores <- subset(read("scores"), status == "ok" & !is.na(score), c(participant_id, source, score))
of <- function(name) subset(scores, source == name, c(participant_id, score))
pairs <- merge(of(candidate), of(reference), by = "participant_id", suffixes = c("_candidate", "_reference"))
pairs <- subset(pairs, participant_id %in% people$participant_id[as.logical(people$is_measured)])

difference <- pairs$score_candidate - pairs$score_reference
value <- c(
  bias = mean(difference),
  exact = mean(difference == 0),
  loa_lower = mean(difference) - 1.96 * sd(difference),
  loa_upper = mean(difference) + 1.96 * sd(difference)
)
statistics <- read("statistics")
id <- paste("agreement", names(value), candidate, reference, "measured", sep = "/")
row <- match(id, statistics$statistic_id)
result <- data.frame(
  quantity = names(value),
  n = nrow(pairs),
  value = value,
  n_in_report = statistics$n[row],
  in_report = statistics$estimate[row]
)
write.table(result, sep = "\t", quote = FALSE, row.names = FALSE)
