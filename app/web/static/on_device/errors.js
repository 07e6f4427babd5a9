/* Errors of the model on the device. */

/* A photo that cannot be classified; `code` is a problem code of the service. */
export class PhotoError extends Error {
  name = "PhotoError";

  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
}

/* A model that cannot be loaded or run. */
export class ModelError extends Error {
  name = "ModelError";

  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
}
