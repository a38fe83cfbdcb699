# Makes cases.json: data sets that are hard in one way each, and what R says about them.
# Run: Rscript tests/statistics/reference/cases.R > tests/statistics/reference/cases.json
# Relies on R (survival); the tests read the committed JSON and need no R.

suppressPackageStartupMessages(library(survival))
RNGversion("4.2.0")

number <- function(x) paste0("[", paste(sprintf("%.17g", x), collapse = ", "), "]")
text <- function(x) paste0("[", paste(sprintf("\"%s\"", x), collapse = ", "), "]")
object <- function(...) {
  fields <- list(...)
  paste0("{", paste(sprintf("\"%s\": %s", names(fields), fields), collapse = ",\n "), "}")
}

formula_of <- function(left, covariates, stratified) {
  as.formula(paste(left, "~", paste(c(covariates, if (stratified) "strata(region)"), collapse = " + ")))
}

cox <- function(data, covariates, ties, stratified) {
  control <- coxph.control(eps = 1e-14, toler.chol = 1e-17, iter.max = 200)
  fit <- coxph(formula_of("Surv(time, event)", covariates, stratified), data, ties = ties, control = control)
  object(kind = "\"cox\"", ties = sprintf("\"%s\"", ties), stratified = if (stratified) "true" else "false", ridge = "0",
         estimate = number(coef(fit)), std_error = number(sqrt(diag(vcov(fit)))),
         log_likelihood = sprintf("%.17g", fit$loglik[2]), log_likelihood_null = sprintf("%.17g", fit$loglik[1]))
}

# ridge(scale = TRUE) penalises theta / 2 * coefficient^2 * var(x), with n - 1 in the variance where hefed has n.
ridge_cox <- function(data, covariates, ties, stratified, lambda) {
  data$x <- as.matrix(data[covariates])
  theta <- lambda * (nrow(data) - 1) / nrow(data)
  right <- c("ridge(x, theta = theta, scale = TRUE)", if (stratified) "strata(region)")
  formula <- as.formula(paste("Surv(time, event) ~", paste(right, collapse = " + ")))
  environment(formula) <- environment()
  fit <- coxph(formula, data, ties = ties, control = coxph.control(eps = 1e-14, toler.chol = 1e-17, iter.max = 200))
  object(kind = "\"cox\"", ties = sprintf("\"%s\"", ties), stratified = if (stratified) "true" else "false",
         ridge = sprintf("%.17g", lambda),
         estimate = number(coef(fit)), std_error = number(sqrt(diag(fit$var))))
}

logistic <- function(data, covariates) {
  control <- glm.control(epsilon = 1e-15, maxit = 200)
  fit <- glm(formula_of("event", covariates, FALSE), binomial, data, control = control)
  fit <- glm(formula_of("event", covariates, FALSE), binomial, data, control = control, start = coef(fit))
  null <- glm(event ~ 1, binomial, data, control = control)
  object(kind = "\"logistic\"", ridge = "0",
         estimate = number(coef(fit)), std_error = number(sqrt(diag(vcov(fit)))),
         log_likelihood = sprintf("%.17g", as.numeric(logLik(fit))),
         log_likelihood_null = sprintf("%.17g", as.numeric(logLik(null))))
}

case <- function(data, covariates, fits) {
  columns <- lapply(data[setdiff(names(data), "region")], number)
  sizes <- as.vector(table(factor(data$region, levels = unique(data$region))))
  object(covariates = text(covariates), sizes = number(sizes), columns = do.call(object, columns),
         fits = paste0("[", paste(fits, collapse = ",\n"), "]"))
}

all_cox <- function(data, covariates) {
  grid <- expand.grid(ties = c("efron", "breslow"), stratified = c(TRUE, FALSE), stringsAsFactors = FALSE)
  mapply(function(ties, stratified) cox(data, covariates, ties, stratified), grid$ties, grid$stratified)
}

regions <- function(...) rep(seq_along(c(...)), c(...))

heavy_ties <- function() {
  set.seed(1)
  region <- regions(100, 70, 30)
  n <- length(region)
  data <- data.frame(region, a = round(rnorm(n), 3), b = rbinom(n, 1, 0.4), c = round(rgamma(n, 1), 3))
  t <- ceiling(rexp(n, exp(0.8 * data$a - 0.5 * data$b + 0.1 * region)) * 4)
  censored <- sample(1:8, n, TRUE)
  data$time <- pmin(t, censored)
  data$event <- as.integer(t <= censored)
  covariates <- c("a", "b", "c")
  case(data, covariates, c(all_cox(data, covariates), logistic(data, covariates),
                           ridge_cox(data, covariates, "efron", TRUE, 5), ridge_cox(data, covariates, "breslow", TRUE, 40),
                           ridge_cox(data, covariates, "efron", FALSE, 5)))
}

# A year has its digits before the comma in common, a rate is tiny, and a count is huge; times have two decimals.
awkward_units <- function() {
  set.seed(2)
  region <- regions(80, 50, 50)
  n <- length(region)
  data <- data.frame(region, year = 2010 + sample(-2:2, n, TRUE), rate = signif(rexp(n) * 1e-6, 4),
                     count = round(1e6 + 2e5 * rnorm(n)))
  eta <- 0.3 * (data$year - 2010) + 4e5 * data$rate + 3e-6 * (data$count - 1e6)
  t <- round(rexp(n, exp(eta)), 2)
  censored <- round(runif(n, 0, 3), 2)
  data$time <- pmin(t, censored)
  data$event <- as.integer(t <= censored)
  covariates <- c("year", "rate", "count")
  case(data, covariates, c(all_cox(data, covariates), logistic(data, covariates)))
}

many_columns <- function() {
  set.seed(3)
  region <- regions(150, 150, 100)
  n <- length(region)
  p <- 15
  x <- round(matrix(rnorm(n * p), n) %*% (diag(p) + 0.3), 2)
  colnames(x) <- paste0("x", 1:p)
  t <- ceiling(rexp(n, exp(x %*% (seq(-1, 1, length.out = p) * 0.2))) * 300)
  censored <- sample(1:600, n, TRUE)
  data <- data.frame(region, x, time = pmin(t, censored), event = as.integer(t <= censored))
  case(data, colnames(x), c(all_cox(data, colnames(x)), logistic(data, colnames(x))))
}

# The first region is tiny and has no event at all.
unequal_regions <- function() {
  set.seed(4)
  region <- regions(6, 20, 200)
  n <- length(region)
  data <- data.frame(region, a = round(rnorm(n), 2), b = round(rt(n, 4), 2))
  t <- ceiling(rexp(n, exp(0.5 * data$a)) * 100)
  censored <- sample(1:150, n, TRUE)
  data$time <- pmin(t, censored)
  data$event <- as.integer(t <= censored & region != 1)
  covariates <- c("a", "b")
  case(data, covariates, c(all_cox(data, covariates), logistic(data, covariates)))
}

rare_events <- function() {
  set.seed(5)
  region <- regions(400, 300, 300)
  n <- length(region)
  data <- data.frame(region, a = round(rnorm(n), 2), b = rbinom(n, 1, 0.1))
  data$event <- rbinom(n, 1, plogis(-4.5 + 0.9 * data$a + data$b))
  data$time <- ifelse(data$event == 1, sample(1:365, n, TRUE), 365)
  covariates <- c("a", "b")
  case(data, covariates, c(all_cox(data, covariates), logistic(data, covariates)))
}

# A covariate with Cauchy-like tails, on which full Newton steps overshoot.
heavy_tails <- function() {
  set.seed(8)
  region <- regions(100, 100)
  n <- length(region)
  data <- data.frame(region, a = round(rt(n, 1.2), 2), b = round(rnorm(n), 2))
  data$time <- ceiling(100 * rexp(n) * exp(-0.7 * pmax(-4, pmin(4, data$a))))
  data$event <- rep(1, n)
  covariates <- c("a", "b")
  case(data, covariates, all_cox(data, covariates))
}

single_region <- function() {
  set.seed(6)
  region <- regions(60)
  data <- data.frame(region, a = round(rnorm(60), 2), b = round(rnorm(60), 2))
  t <- ceiling(rexp(60, exp(0.5 * data$a)) * 20)
  data$time <- pmin(t, 30)
  data$event <- as.integer(t <= 30)
  covariates <- c("a", "b")
  case(data, covariates, c(all_cox(data, covariates), logistic(data, covariates)))
}

cat(object(tool = sprintf("\"%s, survival %s\"", R.version.string, packageVersion("survival")),
           heavy_ties = heavy_ties(), awkward_units = awkward_units(), many_columns = many_columns(),
           unequal_regions = unequal_regions(), rare_events = rare_events(), heavy_tails = heavy_tails(),
           single_region = single_region()), "\n")
