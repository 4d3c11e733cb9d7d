"""A function behind a URL: of Cloud Run, Knative, OpenFaaS, Nuclio, Fission, or any other."""
