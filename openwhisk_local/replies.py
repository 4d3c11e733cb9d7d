"""OpenWhisk's own words: error statuses and texts, copied from its `ErrorResponse.Messages`."""

from __future__ import annotations


class ApiError(Exception):
    """A request is refused: HTTP status, and the `error` field of the reply's body.

    Upstream sends its CORS headers only with what its routes have refused themselves, not with what
    never reached one (`rejection`).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        rejection: bool = False,
    ) -> None:
        super().__init__(message)
        self.rejection = rejection
        self.status = status
        self.message = message
        self.headers = headers


NOT_AUTHENTICATED = "The resource requires authentication, which was not supplied with the request"
BAD_AUTHENTICATION = "The supplied authentication is invalid"
NO_ROUTE = "The requested resource could not be found."
NO_RESOURCE = "The requested resource does not exist."
CONFLICT = "resource already exists"
WRONG_COLLECTION = "Resource by this name exists but is not in this collection."
NO_BODY = (
    "Unexpected end-of-input at input index 0 (line 1, position 1), expected JSON Value:\n\n^\n"
)
MAX_DEPTH = 1000
DEEP = (
    "JSON input nested too deeply:JSON input was nested more deeply than the configured limit of "
    f"maxNesting = {MAX_DEPTH}"
)
BODY_TOO_LARGE = "The request content is larger than the server is willing or able to process."
ILLEGAL_NAME = "The name of the entity contains illegal characters."
ILLEGAL_NAMESPACE = "The namespace contains illegal characters."
NOT_QUALIFIED = (
    "The fully qualified name of the entity must contain at least the namespace and the name of "
    "the entity."
)
BAD_VERSION = "semantic version malformed"
# Of annotations as well.
BAD_PAIRS = "parameters malformed!"
NO_EXEC = "exec undefined"
NO_LIMIT_ENTITIES = "Inner entity level routes for limits are not yet implemented."
NOT_PERMITTED_PARAMETERS = (
    "Request defines parameters that are not allowed (e.g., reserved properties)."
)
BAD_TIMEOUT = "Timeout must be number of milliseconds up to 60000."
DOCS_WITH_COUNT = "The parameter 'docs' is not permitted with 'count'."
BAD_ACTIVATION_ID = "The activation id is not valid."

NO_BOUND_PACKAGE = "Binding references a package that does not exist."
PACKAGE_NOT_BINDING = "Resource is a package and cannot be converted into a binding."
BINDING_OF_BINDING = "Cannot bind to another package binding."
BINDING_OF_ANOTHER = "Cannot bind to a resource that is not a package."
NOT_ON_BINDING = "Operation not permitted on package binding."

LONG_SEQUENCE = "Too many actions in the sequence."
EMPTY_SEQUENCE = "No component specified for the sequence."
CYCLIC_SEQUENCE = "Sequence may not refer to itself."
NO_COMPONENT = "Sequence component does not exist."

BAD_FEED = "Feed name is not valid"
INCOMPLETE_RULE = "rule requires a valid trigger and a valid action"
RULE_WITHOUT_TRIGGER = "Only rules with existing triggers can be activated"

NO_SUCH_PROPERTY = "Response does not include requested property."
NOT_READY = "Response not yet ready."
ERROR_PROCESSING = "There was an error processing your request."
UNKNOWN_CONTENT_TYPE = "Response did not specify a known content-type."
CONTENT_TYPE_MISMATCH = "Response type in header did not match generated content type."

LONG_COMPOSITION = "Too many actions in the composition."

INTERNAL_ERROR = "There was an internal server error."

MEMORY_EXHAUSTED = "The action exhausted its memory and was aborted."
INIT_LOST = "The action did not initialize and exited unexpectedly."
RUN_LOST = "The action did not produce a valid response and exited unexpectedly."
# The stock images' proxy has these words for what it saw end.
CANNOT_START = "Cannot start action. Check logs for details."
COMMAND_EXITED = "command exited"
NO_RESOURCES = "Failed to provision resources to run the action."
LOGS_FAILED = "There was an issue while collecting your logs. Data might be missing."
LOGS_MAY_MISS = "The action did not initialize or run as expected. Log data might be missing."


def malformed(why: str) -> ApiError:
    return ApiError(400, f"The request content was malformed:\n{why}", rejection=True)


def malformed_query(name: str, why: str) -> ApiError:
    """The refusal of a query parameter's value, 400."""
    why = f"The query parameter '{name}' was malformed:\n{why}"
    return ApiError(400, why, rejection=True)


def forbidden(resource: str) -> ApiError:
    return ApiError(403, f"The supplied authentication is not authorized to access '{resource}'.")


def too_large(field: str, size_bytes: int, allowed_bytes: int) -> ApiError:
    return ApiError(413, f"{field} larger than allowed: {size_bytes} > {allowed_bytes} bytes.")


def no_room(size_mb: int) -> ApiError:
    """The platform's own; upstream's database has no bound."""
    return ApiError(
        413,
        f"The platform holds {size_mb} MB of packages, actions, triggers and rules, and this would "
        "be more: delete some, or start it with a larger --max-entities-mb.",
    )


def no_such_resource(path: str) -> ApiError:
    return ApiError(404, f"The requested resource '{path}' does not exist.")


def invalid_media(media_type: str) -> ApiError:
    return ApiError(400, f"Response is not valid '{media_type}'.")


def not_acceptable(content_type: str) -> ApiError:
    return ApiError(
        406, f"Resource representation is only available with these types:\n{content_type}"
    )


def composition_component_invalid(name: str) -> str:
    return f"Failed to parse action name from json value {name} during composition."


def composition_component_not_found(name: str) -> str:
    return f"Failed to resolve action with name '{name}' during composition."


def composition_component_not_accessible(name: str) -> str:
    return f"Failed entitlement check for action with name '{name}' during composition."


def wrong_type(found: str, expected: str) -> ApiError:
    """The refusal of an entity that is in another collection, 400."""
    package = "org.apache.openwhisk.core.entity"
    return ApiError(
        400,
        f"document type class {package}.Whisk{found} did not match expected type class "
        f"{package}.Whisk{expected}.",
    )


def does_not_exist(what: str, path: str) -> ApiError:
    return ApiError(400, f"{what} /{path} does not exist")


def bad_rule_state(status: object) -> ApiError:
    return malformed(f"requirement failed: {status} is not a recognized rule state")


def inactive_rule(rule: str, action: str) -> str:
    return f"Rule '{rule}' is inactive, action '{action}' was not activated."


def bad_name_filter(value: str) -> str:
    return f"Parameter may be a 'simple' name or 'package-name/simple' name: {value}"


def object_expected(field: str) -> ApiError:
    """Of what has `field` as its first field, as upstream's reader finds out."""
    return malformed(f"Object expected in field '{field}'")


def too_many_instances(allowed: int) -> ApiError:
    return ApiError(
        400,
        f"Max action instance concurrency must not exceed your namespace concurrency of {allowed}.",
    )


def method_not_allowed(supported: str) -> ApiError:
    return ApiError(
        405,
        f"HTTP method not allowed, supported methods: {supported}",
        headers=(("allow", supported),),
        rejection=True,
    )


def namespace_too_long(length: int, allowed: int) -> ApiError:
    return ApiError(400, f"Namespace longer than allowed: {length} > {allowed}.")


def name_too_long(length: int, allowed: int) -> ApiError:
    return ApiError(400, f"Name segement longer than allowed: {length} > {allowed}.")


def package_reserved(name: str) -> ApiError:
    return ApiError(400, f"Package name '{name}' is reserved.")


def package_not_empty(entities: int) -> ApiError:
    noun = "entity" if entities == 1 else "entities"
    return ApiError(
        409,
        f"Package not empty (contains {entities} {noun}). "
        "Set force param or delete package contents.",
    )


def too_many_per_minute(count: int, allowed: int) -> ApiError:
    return ApiError(
        429, f"Too many requests in the last minute (count: {count}, allowed: {allowed})."
    )


def too_many_concurrent(count: int, allowed: int) -> ApiError:
    return ApiError(
        429, f"Too many concurrent requests in flight (count: {count}, allowed: {allowed})."
    )


def time_exceeded(limit_ms: int, *, init: bool) -> str:
    """The error of an activation that was ended at its time limit."""
    during = " during initialization" if init else ""
    return f"The action exceeded its time limits of {limit_ms} milliseconds{during}."


def init_failed(body: str) -> str:
    return (
        f"The action failed during initialization: {body}"
        if body
        else ("The action failed during initialization.")
    )


def invalid_response(body: str) -> str:
    said = f": {body}" if body else "."
    return f"The action did not produce a valid JSON or JSON Array response{said}"


def response_too_long(size_bytes: int, allowed_bytes: int, start: str) -> str:
    return (
        "The action produced a response that exceeded the allowed length: "
        f"{size_bytes} > {allowed_bytes} bytes. The truncated response was: {start}"
    )


def image_not_pulled(image: str) -> str:
    return f"Failed to pull container image '{image}'."


def logs_truncated(allowed_bytes: int) -> str:
    return (
        "Logs were truncated because the total bytes size exceeds the limit of "
        f"{allowed_bytes} bytes."
    )
