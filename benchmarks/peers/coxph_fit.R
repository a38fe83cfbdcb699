# survival::coxph.fit of the pooled table in the clear: coxph_fit.R POOLED.npz. Jobs and answers as in worker.py.
# The .npz file is a zip of .npy files without compression: float64, C order.
suppressMessages(library(survival))

npy <- function(folder, name) {
    con <- file(file.path(folder, paste0(name, ".npy")), "rb")
    on.exit(close(con))
    readBin(con, "raw", 8)
    header <- rawToChar(readBin(con, "raw", readBin(con, "integer", 1, size = 2, endian = "little")))
    shape <- sub(".*shape", "", header)
    shape <- as.integer(regmatches(shape, gregexpr("[0-9]+", shape))[[1]])
    values <- readBin(con, "double", prod(shape), endian = "little")
    if (length(shape) == 2) matrix(values, nrow = shape[1], byrow = TRUE) else values
}

folder <- tempfile()
utils::unzip(commandArgs(TRUE)[1], exdir = folder)
x <- npy(folder, "x")
y <- Surv(npy(folder, "day"), npy(folder, "event"))
region <- as.integer(npy(folder, "region"))
cat(sprintf("{\"ready\": \"R %s, survival %s\"}\n", getRversion(), packageVersion("survival")))
flush(stdout())
input <- file("stdin", "r")
while (length(line <- readLines(input, 1)) > 0) {
    begun <- proc.time()[["elapsed"]]
    # "same-model" has baselines by region, as hefed has them: for comparing answers.
    fit <- coxph.fit(x, y, strata = if (line == "same-model") region, offset = NULL, init = NULL, control = coxph.control(), weights = NULL,
                     method = "efron", rownames = NULL, resid = FALSE)
    seconds <- proc.time()[["elapsed"]] - begun
    cat(sprintf("{\"seconds\": %.4f, \"estimate\": [%s]}\n", seconds, paste(sprintf("%.12g", fit$coefficients), collapse = ", ")))
    flush(stdout())
}
